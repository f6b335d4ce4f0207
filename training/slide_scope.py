"""Bounds of the slide's scope: training patches of one stain stand for a slide, since slides are not named in PCam."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from model_zoo.manifest import QualityReference
from model_zoo.quality import measure, tissue_statistics
from model_zoo.slide_scope import Bound, Bounds, Floats, SlideReference, slide_figures
from training.data import Patches

FALSE_ALARMS = 0.01
SIZES = (16, 64, 256)
SLIDES = 4000
LOWEST, HIGHEST = (
    ("median_sharpness", "upper_sharpness"),
    ("median_sharpness", "upper_sharpness", "median_stain_distance"),
)

Draw = NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """What was measured in assessable patches: sharpness, [patches], and density, [patches, 3]."""

    sharpness: Floats
    density: Floats

    @property
    def sha256(self) -> str:
        return sha256(self.sharpness.tobytes() + self.density.tobytes()).hexdigest()


def measured(patches: Patches, quality: QualityReference) -> Measured:
    """Measure those patches that are assessable."""
    found = [tissue_statistics(image) for image in patches.images if measure(image, quality).assessable]
    return Measured(np.array([sharpness for _, sharpness, _ in found]), np.array([density for _, _, density in found]))


def at_random(patches: Measured, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw patches as slides, whatever their stain."""
    for _ in range(slides):
        yield rng.choice(len(patches.sharpness), size, replace=False)


def of_one_stain(patches: Measured, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw patches as slides: those whose ratio of densities is nearest to that of a random patch.

    One slide has one stain, so its patches agree more than patches of many slides. Nearest neighbours agree at least
    as much, and so their figures vary more from draw to draw than those of slides.
    """
    return _nearest(_ratio(patches), size, slides, rng)


def of_one_stain_and_sharpness(patches: Measured, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw patches as slides that agree in the ratio of densities and in sharpness: harder than slides are."""
    return _nearest(np.column_stack([_ratio(patches), np.log1p(patches.sharpness)]), size, slides, rng)


def _ratio(patches: Measured) -> Floats:
    ratio: Floats = (patches.density / patches.density.sum(1, keepdims=True))[:, :2]
    return ratio


def _nearest(features: Floats, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    scaled = features / features.std(0)
    tree = cKDTree(scaled)
    for seed in rng.integers(len(scaled), size=slides):
        yield np.asarray(tree.query(scaled[seed], k=size)[1], dtype=np.int64)


DRAWS = {"at random": at_random, "of one stain": of_one_stain, "of one stain and sharpness": of_one_stain_and_sharpness}


def fit(patches: Measured, quality: QualityReference, source: str, slides: int = SLIDES) -> SlideReference:
    """Bounds that refuse one in a hundred of the training patches' slides, whatever the number of patches."""
    start = SlideReference(
        stain_mean=quality.stain_mean,
        stain_precision=quality.stain_precision,
        false_alarms=FALSE_ALARMS,
        bounds=(Bounds(patches=1, median_sharpness=Bound(), upper_sharpness=Bound(), median_stain_distance=Bound()),),
        source=source,
        training_patches=patches.sha256,
    )
    rng = np.random.default_rng(0)
    drawn = {size: _figures(patches, of_one_stain(patches, size, slides, rng), start) for size in SIZES}
    return start.model_copy(update={"bounds": tuple(_bounds(size, figures) for size, figures in drawn.items())})


def _figures(patches: Measured, draws: Iterator[Draw], reference: SlideReference) -> dict[str, Floats]:
    every = [slide_figures(patches.sharpness[draw], patches.density[draw], reference) for draw in draws]
    return {name: np.array([figures[name] for figures in every]) for name in every[0]}


def _bounds(size: int, figures: dict[str, Floats]) -> Bounds:
    """Equal tails, as wide as the share of slides that leave any of them allows."""
    low, high = 0.0, FALSE_ALARMS
    for _ in range(40):
        middle = (low + high) / 2
        if refused(figures, _tails(size, figures, middle)) > FALSE_ALARMS:
            high = middle
        else:
            low = middle
    return _tails(size, figures, low)


def _tails(size: int, figures: dict[str, Floats], tail: float) -> Bounds:
    bound = {
        name: Bound(
            low=float(np.quantile(values, tail)) if name in LOWEST else None,
            high=float(np.quantile(values, 1 - tail)) if name in HIGHEST else None,
        )
        for name, values in figures.items()
    }
    return Bounds(patches=size, **bound)


def refused(figures: dict[str, Floats], bounds: Bounds) -> float:
    """The share of slides with a figure outside its bound."""
    outside = np.zeros(len(next(iter(figures.values()))), dtype=np.bool_)
    for name, values in figures.items():
        bound: Bound = getattr(bounds, name)
        outside |= (values < (-np.inf if bound.low is None else bound.low)) | (
            values > (np.inf if bound.high is None else bound.high)
        )
    return float(outside.mean())


def false_alarms(reference: SlideReference, patches: Measured, slides: int = 2000) -> list[tuple[int, str, float]]:
    """Patches, how they were drawn, and the share of such slides that is refused, of patches that fitted nothing."""
    rows = []
    for bounds in reference.bounds:
        for name, draw in DRAWS.items():
            rng = np.random.default_rng(bounds.patches)
            figures = _figures(patches, draw(patches, bounds.patches, slides, rng), reference)
            rows.append((bounds.patches, name, refused(figures, bounds)))
    return rows


def markdown(rows: Sequence[tuple[int, str, float]]) -> str:
    """The false alarms as a table."""
    lines = [f"| {patches} | {name} | {100 * share:.1f} % |" for patches, name, share in rows]
    return "\n".join(["| patches | drawn | refused |", "|---|---|---|", *lines])


def as_json(reference: SlideReference) -> str:
    return json.dumps(reference.model_dump(mode="json"), indent=1) + "\n"
