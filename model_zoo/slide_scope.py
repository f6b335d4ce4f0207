"""Does a slide look like what the models were trained on? Bounds on the texture and stain of its patches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_zoo.manifest import OpticalDensity, Sha256, Text, Triple
from model_zoo.quality import tissue_statistics
from model_zoo.texture import Floats, texture
from model_zoo.turns import Patch

REFERENCE_FILE = Path(__file__).parent / "slide-scope.json"

Five = tuple[float, float, float, float, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bounds(_Part):
    """The bounds for slides of at least so many patches; the figures of fewer patches vary more.

    Attributes:
        texture_mean: of the slides' median textures, in the order of ``model_zoo.texture.MEASURES``.
        texture_precision: the inverse of their covariance.
        max_texture_distance: largest Mahalanobis distance of a slide's median texture.
        max_stain_distance: largest median of its patches' stain distances.
    """

    patches: int = Field(ge=1)
    texture_mean: Five
    texture_precision: tuple[Five, Five, Five, Five, Five]
    max_texture_distance: float = Field(gt=0)
    max_stain_distance: float = Field(gt=0)


class SlideReference(_Part):
    """Bounds from training patches that were drawn as slides.

    Attributes:
        stain_mean: as in an artifact's quality reference.
        stain_precision: likewise.
        false_alarms: share of the training patches' slides that the bounds refuse, at each number of patches.
        bounds: by rising number of patches.
        training_patches: SHA-256 of what was measured in them.
    """

    stain_mean: tuple[OpticalDensity, OpticalDensity, OpticalDensity]
    stain_precision: tuple[Triple, Triple, Triple]
    false_alarms: float = Field(gt=0, lt=1)
    bounds: tuple[Bounds, ...] = Field(min_length=1)
    source: Text
    training_patches: Sha256

    @model_validator(mode="after")
    def _sizes_rise(self) -> Self:
        sizes = [each.patches for each in self.bounds]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"the numbers of patches {sizes} do not rise")
        return self

    def bounds_for(self, patches: int) -> Bounds | None:
        """The bounds of the largest number that is not above ``patches``; None if there are too few patches."""
        return next((each for each in reversed(self.bounds) if each.patches <= patches), None)


@cache
def slide_reference() -> SlideReference:
    """The shipped reference, which ``rosette scope-reference`` made."""
    return SlideReference.model_validate_json(REFERENCE_FILE.read_bytes())


def measured(patches: Iterable[Patch]) -> tuple[Floats, Floats]:
    """Textures, [N, 5], and mean optical densities, [N, 3], of those patches that hold enough tissue for both."""
    textures, densities = [], []
    for patch in patches:
        found, (_, _, density) = texture(patch), tissue_statistics(patch)
        if found is not None and density is not None:
            textures.append(found)
            densities.append(density)
    return np.array(textures).reshape(-1, 5), np.array(densities).reshape(-1, 3)


@dataclass(frozen=True)
class ScopeDistances:
    """How far the patches of a slide lie from the training patches, by medians over the patches."""

    texture: float
    stain: float
    bounds: Bounds

    @property
    def outside(self) -> list[str]:
        """Which of the two lie outside their bounds."""
        texture, stain = self.texture > self.bounds.max_texture_distance, self.stain > self.bounds.max_stain_distance
        return [name for name, far in (("texture", texture), ("stain", stain)) if far]


def scope_distances(textures: Floats, densities: Floats, reference: SlideReference) -> ScopeDistances | None:
    """Distances of what :func:`measured` gives; None for fewer patches than any bounds are for."""
    bounds = reference.bounds_for(len(textures))
    if bounds is None:
        return None
    stain = float(np.median(stain_distances(densities, reference.stain_mean, reference.stain_precision)))
    texture = float(texture_distance(np.median(textures, axis=0)[None], bounds)[0])
    return ScopeDistances(texture, stain, bounds)


def stain_distances(densities: Floats, mean: Triple, precision: tuple[Triple, Triple, Triple]) -> Floats:
    """Mahalanobis distances of mean optical densities, [N, 3] → [N]."""
    return mahalanobis(densities, np.array(mean), np.array(precision))


def mahalanobis(values: Floats, mean: Floats, precision: Floats) -> Floats:
    """Distances of the rows of ``values``, [N, K] → [N], in standard deviations."""
    difference = values - mean
    distance: Floats = np.sqrt(np.maximum(0, np.einsum("ni,ij,nj->n", difference, precision, difference)))
    return distance


def texture_distance(medians: Floats, bounds: Bounds) -> Floats:
    """Distances of slides' median textures, [slides, 5] → [slides], from usual slides'."""
    return mahalanobis(medians, np.array(bounds.texture_mean), np.array(bounds.texture_precision))
