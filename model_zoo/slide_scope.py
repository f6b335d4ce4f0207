"""Does a slide look like what the models were trained on? Bounds on how its patches are sharp and stained."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_zoo.manifest import OpticalDensity, Sha256, Text, Triple

REFERENCE_FILE = Path(__file__).parent / "slide-scope.json"

Floats = NDArray[np.float64]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bound(_Part):
    """What a figure of a usual slide is: at least ``low`` and at most ``high``; None where it is not bounded."""

    low: float | None = None
    high: float | None = None


class Bounds(_Part):
    """The bounds for slides of at least so many assessable patches; fewer patches vary more."""

    patches: int = Field(ge=1)
    median_sharpness: Bound
    upper_sharpness: Bound
    median_stain_distance: Bound


class SlideReference(_Part):
    """Bounds from training patches, drawn as slides.

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


def slide_figures(sharpness: Floats, density: Floats, reference: SlideReference) -> dict[str, float]:
    """The figures that are bounded, of a slide's assessable patches.

    Args:
        sharpness: [patches], variance of the Laplacian in grey levels squared.
        density: [patches, 3], mean optical density of the tissue.

    Returns:
        ``median_sharpness``; ``upper_sharpness``, which a tenth of the patches exceed; ``median_stain_distance``, in
        standard deviations.
    """
    difference = density - np.array(reference.stain_mean)
    distance = np.sqrt(np.einsum("ni,ij,nj->n", difference, np.array(reference.stain_precision), difference))
    return {
        "median_sharpness": float(np.median(sharpness)),
        "upper_sharpness": float(np.quantile(sharpness, 0.9)),
        "median_stain_distance": float(np.median(distance)),
    }
