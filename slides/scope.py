"""Whether a slide looks like what the models were made for, before any map is shown."""

from __future__ import annotations

import numpy as np

from model_zoo.slide_scope import SlideReference, slide_figures, slide_reference
from slides.cells import Cells, State
from slides.runfile import Scope, ScopeFigure

NAMES = {
    "median_sharpness": "median sharpness, grey levels squared",
    "upper_sharpness": "sharpness of the sharpest tenth, grey levels squared",
    "median_stain_distance": "median stain distance, standard deviations",
}
_MEANINGS = {
    "median_sharpness": "sharpness",
    "upper_sharpness": "the sharpness of its sharpest parts",
    "median_stain_distance": "stain",
}


def judge(cells: Cells, reference: SlideReference | None = None) -> Scope:
    """Compare a slide's scored cells with the training patches.

    Args:
        reference: the shipped one by default.
    """
    reference = reference or slide_reference()
    scored = cells.where(State.SCORED) & ~np.isnan(cells.sharpness) & ~np.isnan(cells.density).any(axis=2)
    count = int(scored.sum())
    bounds = reference.bounds_for(count)
    if bounds is None:
        least = reference.bounds[0].patches
        text = (
            f"Only {count} cells could be judged; at least {least} are needed to compare the slide with training data."
        )
        return Scope(verdict="unknown", cells=count, text=text, reference=reference.training_patches)
    values = slide_figures(cells.sharpness[scored], cells.density[scored], reference)
    limits = {name: getattr(bounds, name) for name in values}
    figures = {
        name: ScopeFigure(name=NAMES[name], value=value, low=limits[name].low, high=limits[name].high)
        for name, value in values.items()
    }
    outside = [_MEANINGS[name] for name, figure in figures.items() if not figure.inside]
    if outside:
        text = (
            f"The slide differs from the training patches in {' and '.join(outside)}: do not rely on its probabilities."
        )
    else:
        text = (
            "Sharpness and stain are as in the training patches. This does not prove that the tissue is a lymph node."
        )
    return Scope(
        verdict="out_of_scope" if outside else "in_scope",
        cells=count,
        figures=tuple(figures.values()),
        reference=reference.training_patches,
        text=text,
    )
