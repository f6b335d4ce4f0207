"""Whether a slide looks like what the models were made for, before any map is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from model_zoo.slide_scope import SlideReference, measured, scope_distances, slide_reference
from model_zoo.turns import Patch
from slides.cells import Cells, State
from slides.runfile import Scope, ScopeFigure

SAMPLE = 256

PatchAt = Callable[[int, int], Patch | None]


def judge(cells: Cells, patch_at: PatchAt, reference: SlideReference | None = None) -> Scope:
    """Compare a slide's scored cells with the training patches.

    Args:
        patch_at: reads the patch of a cell by column and row; None where it cannot be read.
        reference: the shipped one by default.
    """
    found = (patch_at(column, row) for row, column in sampled(cells))
    return verdict((patch for patch in found if patch is not None), reference or slide_reference())


def sampled(cells: Cells) -> list[tuple[int, int]]:
    """Row and column of up to 256 scored cells, evenly spread in row-major order: always the same ones."""
    scored = np.argwhere(cells.where(State.SCORED))
    chosen = np.linspace(0, len(scored) - 1, min(SAMPLE, len(scored))).round().astype(int)
    return [(row, column) for row, column in scored[chosen].tolist()]


def verdict(patches: Iterable[Patch], reference: SlideReference) -> Scope:
    """The verdict on a slide of these assessable patches, uint8 [96, 96, 3] each."""
    textures, densities = measured(patches)
    count = len(textures)
    found = scope_distances(textures, densities, reference)
    if found is None:
        least = reference.bounds[0].patches
        text = f"Only {count} cells can be compared with the training patches; at least {least} are needed."
        return Scope(verdict="unknown", cells=count, text=text, reference=reference.training_patches)
    texture_bound, stain_bound = found.bounds.max_texture_distance, found.bounds.max_stain_distance
    figures = (
        ScopeFigure(name="texture distance", value=round(found.texture, 4), high=round(texture_bound, 4)),
        ScopeFigure(name="stain distance", value=round(found.stain, 4), high=round(stain_bound, 4)),
    )
    outside = [figure.name.partition(" ")[0] for figure in figures if not figure.inside]
    if outside:
        differs = " and ".join(outside)
        text = f"The slide differs from the training patches in {differs}: do not rely on its probabilities."
    else:
        text = "Texture and stain are as in the training patches. This does not prove that the tissue is a lymph node."
    return Scope(
        verdict="out_of_scope" if outside else "in_scope",
        cells=count,
        figures=figures,
        reference=reference.training_patches,
        text=text,
    )
