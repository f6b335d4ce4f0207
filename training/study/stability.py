"""The effect of shifts, a shifted JPEG grid, zoom and turns on answers, and the answers for other tissue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import JsonValue

from model_zoo.network import Network
from model_zoo.quality import measure as measure_quality
from model_zoo.symmetry import Group
from model_zoo.turns import SIDE, Patch, turn
from training.data import Patches
from training.metrics import RESAMPLES, Interval
from training.score import score
from training.study.jpeg import encode_again
from training.study.markdown import cell, table
from training.study.results import Document

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
SHIFTS_PX = (1, 2, 4, 8)
GRID_SHIFT_PX = 3
JPEG_QUALITY = 75
ZOOMS = (0.95, 1.05)
TURNS = Group.parse("C12")
SLIDE_STRIDE_PX = 32

Floats = npt.NDArray[np.float64]
Perturb = Callable[[Patch], Patch]


def shift(image: Patch, right: int, down: int) -> Patch:
    """Move a patch by whole pixels, edges reflected."""
    margin = max(abs(right), abs(down))
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    top, left = margin - down, margin - right
    return np.ascontiguousarray(padded[top : top + SIDE, left : left + SIDE])


def jpeg_on_shifted_grid(image: Patch) -> Patch:
    """Encode and decode a patch at quality 75, 4:2:0, on a block grid that is shifted by 3 px in both directions."""
    padded = np.pad(image, ((GRID_SHIFT_PX, GRID_SHIFT_PX), (GRID_SHIFT_PX, GRID_SHIFT_PX), (0, 0)), "reflect")
    decoded = encode_again(padded, JPEG_QUALITY)
    return np.ascontiguousarray(decoded[GRID_SHIFT_PX:-GRID_SHIFT_PX, GRID_SHIFT_PX:-GRID_SHIFT_PX])


def zoom(image: Patch, factor: float) -> Patch:
    """Magnify a patch about its centre by Pillow's bicubic filter, edges reflected."""
    margin = SIDE // 8
    padded = Image.fromarray(np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect"))
    begin = margin + (SIDE - SIDE / factor) / 2
    end = begin + SIDE / factor
    return np.asarray(padded.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(begin, begin, end, end)))


def perturbations() -> dict[str, tuple[Perturb, ...]]:
    """Functions of one patch, uint8 [96, 96, 3], by row; a row is the mean over its functions."""
    by_thirty_degrees = partial(turn, group=TURNS, element=1)
    return {
        **{
            f"shift {px} px": tuple(partial(shift, right=x * px, down=y * px) for x, y in DIRECTIONS)
            for px in SHIFTS_PX
        },
        f"JPEG quality {JPEG_QUALITY}, same grid": (partial(encode_again, quality=JPEG_QUALITY),),
        f"JPEG quality {JPEG_QUALITY}, shifted grid": (jpeg_on_shifted_grid,),
        **{f"zoom × {factor:g}": (partial(zoom, factor=factor),) for factor in ZOOMS},
        "turn 30°": (by_thirty_degrees,),
    }


def run(networks: Mapping[str, Network], patches: Patches, split: str, slide: Path | None) -> Document:
    """Compare answers for a split's patches and their perturbations, in one orientation.

    Args:
        networks: by name.
        slide: a slide without tumour that is not a lymph node, or None.
    """
    before = {name: _margins(network, patches.images) for name, network in networks.items()}
    rows: list[JsonValue] = []
    for name, several in perturbations().items():
        after: dict[str, list[Floats]] = {network: [] for network in networks}
        for perturb in several:
            perturbed = np.stack([perturb(image) for image in patches.images])
            for network, opened in networks.items():
                after[network].append(_margins(opened, perturbed))
        figures: Document = {
            network: _figures(opened, before[network], np.stack(after[network]), patches.labels)
            for network, opened in networks.items()
        }
        rows.append({"name": name, "figures": figures})
    document: Document = {"split": split, "n": len(patches), "rows": rows}
    if slide is not None:
        document["slide"] = {"name": slide.name, "networks": {n: on_slide(each, slide) for n, each in networks.items()}}
    return document


def _margins(network: Network, images: Patch) -> Floats:
    """Difference of the two logits, [N]."""
    logits = score(network.logits, images).astype(np.float64)
    margins: Floats = logits[:, 1] - logits[:, 0]
    return margins


def _figures(network: Network, before: Floats, after: Floats, labels: npt.NDArray[np.int64]) -> Document:
    """Figures over patches [N], each averaged over perturbations [D, N] first; labels are at equal logits."""
    temperature = network.manifest.calibration.temperature
    change = np.abs(_expit(after / temperature) - _expit(before / temperature)).mean(0)
    flipped = ((after > 0) != (before > 0)).mean(0)
    right_before = ((before > 0) == (labels == 1)).astype(np.float64)
    right_after = ((after > 0) == (labels == 1)).mean(0)
    return {
        "mean": mean_interval(change),
        "flipped": mean_interval(flipped),
        "accuracy_before": mean_interval(right_before),
        "accuracy_change": mean_interval(right_after - right_before),
    }


def _expit(margin: Floats) -> Floats:
    probability: Floats = np.exp(-np.logaddexp(0.0, -margin))
    return probability


def mean_interval(values: Floats) -> Document:
    """The mean over patches with its percentile interval; every call uses the same resampled patches."""
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(1), [2.5, 97.5]).tolist()
    return dict(asdict(Interval(float(values.mean()), low, high)))


def tiles(slide: Path, microns_per_pixel: float) -> Patch:
    """All patches of a slide at a stride of 32 px, uint8 [N, 96, 96, 3]; the slide is area-averaged to the scale."""
    import openslide

    with openslide.OpenSlide(slide) as opened:
        stated = float(opened.properties[openslide.PROPERTY_NAME_MPP_X])
        whole = opened.read_region((0, 0), 0, opened.dimensions).convert("RGB")
    factor = stated / microns_per_pixel
    size = (round(whole.width * factor), round(whole.height * factor))
    pixels = np.asarray(whole.resize(size, Image.Resampling.BOX))
    corners = [
        (y, x)
        for y in range(0, pixels.shape[0] - SIDE + 1, SLIDE_STRIDE_PX)
        for x in range(0, pixels.shape[1] - SIDE + 1, SLIDE_STRIDE_PX)
    ]
    return np.stack([pixels[y : y + SIDE, x : x + SIDE] for y, x in corners])


def on_slide(network: Network, slide: Path) -> Document:
    """The number of assessable tiles of a slide, and their share with a positive label."""
    manifest = network.manifest
    found = tiles(slide, manifest.input.microns_per_pixel)
    assessable = np.array([measure_quality(tile, manifest.quality).assessable for tile in found])
    if not assessable.any():
        return {"tiles": len(found), "assessable": 0, "positive": None}
    called = network.probabilities(score(network.logits, found[assessable])) >= manifest.threshold
    return {
        "tiles": len(found),
        "assessable": int(assessable.sum()),
        "positive": mean_interval(called.astype(np.float64)),
    }


def section(d: Any) -> list[str]:
    """Markdown: the table, and the answers for the slide's tiles."""
    cells = [
        [
            row["name"],
            network,
            cell(f["mean"], ".4f"),
            cell(f["flipped"], ".1f", 100),
            cell(f["accuracy_change"], "+.1f", 100),
        ]
        for row in d["rows"]
        for network, f in row["figures"].items()
    ]
    columns = ("perturbation", "network", "mean change of p", "labels changed, %", "change of accuracy, points")
    lines = [
        f"**Position of the grid**: {d['n']:,} patches of {d['split']}, one orientation, labels at equal logits; "
        "shifts are the mean over four directions, with reflected edges. Brackets: 95 % by bootstrap over patches.",
        "",
        *table(columns, cells),
    ]
    if slide := d.get("slide"):
        lines += ["", f"**Other tissue**: tiles of `{slide['name']}` at a stride of {SLIDE_STRIDE_PX} px.", ""]
        for network, figures in slide["networks"].items():
            share = cell(figures["positive"], ".1f", 100) if figures["positive"] else "none"
            lines.append(
                f"- {network}: {figures['assessable']:,} of {figures['tiles']:,} tiles are assessable; "
                f"share classified as positive, %: {share}."
            )
    return lines
