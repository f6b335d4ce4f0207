"""Bounds of the slide's scope: training patches of one stain stand for a slide, since PCam does not name slides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.spatial import cKDTree

from model_zoo.manifest import QualityReference
from model_zoo.quality import measure
from model_zoo.slide_scope import Bounds, SlideReference, measured, stain_distances, texture_distance
from model_zoo.texture import MEASURES, Floats
from training.data import Patches

FALSE_ALARMS = 0.01
SIZES = (16, 64, 256)
SLIDES = 4000

Draw = NDArray[np.int64]
Drawing = Callable[["Measured", int, int, np.random.Generator], Iterator[Draw]]


@dataclass(frozen=True)
class Measured:
    """What was measured in assessable patches: textures, [N, 5], and mean optical densities, [N, 3]."""

    texture: Floats
    density: Floats

    @property
    def sha256(self) -> str:
        return sha256(self.texture.tobytes() + self.density.tobytes()).hexdigest()


def assessable(patches: Patches, quality: QualityReference, blur_px: float = 0) -> Measured:
    """Measure those patches that are assessable, blurred by a Gaussian of this standard deviation."""
    chosen = (_blurred(image, blur_px) for image in patches.images if measure(image, quality).assessable)
    return Measured(*measured(chosen))


def _blurred(image: NDArray[np.uint8], blur_px: float) -> NDArray[np.uint8]:
    if not blur_px:
        return image
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(blur_px)))


def at_random(patches: Measured, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw patches as slides, whatever their stain."""
    for _ in range(slides):
        yield rng.choice(len(patches.density), size, replace=False)


def of_one_stain(patches: Measured, size: int, slides: int, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw patches as slides: those whose ratio of densities is nearest to that of a random patch.

    One slide has one stain, so its patches agree more than patches of many slides. Nearest neighbours agree at least
    as much, and so their figures vary more from draw to draw than those of slides.
    """
    ratio = (patches.density / patches.density.sum(1, keepdims=True))[:, :2]
    scaled = ratio / ratio.std(0)
    tree = cKDTree(scaled)
    for seed in rng.integers(len(scaled), size=slides):
        yield np.asarray(tree.query(scaled[seed], k=size)[1], dtype=np.int64)


DRAWINGS: dict[str, Drawing] = {"at random": at_random, "of one stain": of_one_stain}


def fit(patches: Measured, quality: QualityReference, source: str, slides: int = SLIDES) -> SlideReference:
    """Bounds that refuse one in a hundred of the training patches' slides, whatever the number of patches."""
    stains = stain_distances(patches.density, quality.stain_mean, quality.stain_precision)
    return SlideReference(
        stain_mean=quality.stain_mean,
        stain_precision=quality.stain_precision,
        false_alarms=FALSE_ALARMS,
        bounds=tuple(_bounds(patches, stains, size, slides) for size in SIZES),
        source=source,
        training_patches=patches.sha256,
    )


def _bounds(patches: Measured, stains: Floats, size: int, slides: int) -> Bounds:
    """Equal tails of both figures, so wide that together they refuse one slide in a hundred."""
    textures, stain = _medians(patches, stains, of_one_stain(patches, size, slides, np.random.default_rng(size)))
    covariance = np.cov(textures.T) + 1e-9 * np.eye(len(MEASURES))
    start = Bounds(
        patches=size,
        texture_mean=tuple(textures.mean(0).tolist()),
        texture_precision=tuple(tuple(row) for row in np.linalg.inv(covariance).tolist()),
        max_texture_distance=1,
        max_stain_distance=1,
    )
    distance = texture_distance(textures, start)
    low, high = 0.0, FALSE_ALARMS
    for _ in range(30):
        tail = (low + high) / 2
        outside = (distance > np.quantile(distance, 1 - tail)) | (stain > np.quantile(stain, 1 - tail))
        low, high = (low, tail) if outside.mean() > FALSE_ALARMS else (tail, high)
    found = {"max_texture_distance": np.quantile(distance, 1 - low), "max_stain_distance": np.quantile(stain, 1 - low)}
    return start.model_copy(update={name: float(value) for name, value in found.items()})


def _medians(patches: Measured, stains: Floats, draws: Iterator[Draw]) -> tuple[Floats, Floats]:
    """The median texture, [slides, 5], and the median stain distance, [slides], of each draw."""
    pairs = [(np.median(patches.texture[draw], axis=0), np.median(stains[draw])) for draw in draws]
    return np.array([texture for texture, _ in pairs]), np.array([stain for _, stain in pairs])


def refused(reference: SlideReference, patches: Measured, drawing: Drawing, slides: int = 2000) -> list[float]:
    """The share of slides, drawn of these patches, that each of the reference's bounds refuses."""
    stains = stain_distances(patches.density, reference.stain_mean, reference.stain_precision)
    shares = []
    for bounds in reference.bounds:
        draws = drawing(patches, bounds.patches, slides, np.random.default_rng(1))
        textures, stain = _medians(patches, stains, draws)
        far = texture_distance(textures, bounds) > bounds.max_texture_distance
        shares.append(float((far | (stain > bounds.max_stain_distance)).mean()))
    return shares


def markdown(reference: SlideReference, rows: Sequence[tuple[str, list[float]]]) -> str:
    """A table of shares that are refused, a column for each number of patches."""
    sizes = [f"{bounds.patches} patches" for bounds in reference.bounds]
    lines = [f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |" for name, shares in rows]
    return "\n".join(["| slides drawn | " + " | ".join(sizes) + " |", "|---" * (len(sizes) + 1) + "|", *lines])


def as_json(reference: SlideReference) -> str:
    return json.dumps(reference.model_dump(mode="json"), indent=1) + "\n"
