"""How the network answers a patch whose grid lies a few pixels elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from model_zoo.golden import Logits
from model_zoo.turns import SIDE, Patch

DISTANCE_PX = 4
_STEPS = (-DISTANCE_PX, 0, DISTANCE_PX)
_AROUND = tuple((dx, dy) for dy in _STEPS for dx in _STEPS if (dx, dy) != (0, 0))
OFFSETS_PX: tuple[tuple[int, int], ...] = ((0, 0), *_AROUND)

Probability = Annotated[float, Field(ge=0, le=1)]
_Nine = Field(min_length=len(OFFSETS_PX), max_length=len(OFFSETS_PX))


class Shifts(StrEnum):
    """``none``: the patch where it lies. ``report``: also at eight offsets around it; the decision stays the same."""

    NONE = "none"
    REPORT = "report"


@dataclass(slots=True)
class ShiftReport:
    """How far the answer depends on where the patch was cut; lists have one entry for each offset."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    offsets_px: Annotated[
        list[tuple[int, int]],
        _Nine,
        Field(
            description="How far the cut was moved right and down, in pixels; the centre, [0, 0], first, then row by "
            "row."
        ),
    ]
    probabilities: Annotated[
        list[Probability],
        _Nine,
        Field(description="Calibrated, each of the patch as given (not turned) at its offset."),
    ]
    max_deviation: Annotated[float, Field(description="Largest distance of a probability from the mean of the nine.")]
    label_agreement: Annotated[Probability, Field(description="Share of the nine whose label is the centre's.")]
    edges: Annotated[
        Literal["reflected"],
        Field(description="What the pixels beyond the patch's edge, which are not known, are taken to be."),
    ] = "reflected"


def measure_shifts(patch: Patch, logits_of: Callable[[Patch], Logits]) -> Logits:
    """Logits, float32 [9, 2], of a patch, uint8 [96, 96, 3], at each of ``OFFSETS_PX``, in one call of the network.

    A network without padding could answer the same with one pass for each phase of its stride.
    """
    return logits_of(shifted(patch))


def shifted(patch: Patch) -> Patch:
    """The patch cut at each of ``OFFSETS_PX``, uint8 [9, 96, 96, 3]; what lies beyond its edges is reflected."""
    border = ((DISTANCE_PX, DISTANCE_PX), (DISTANCE_PX, DISTANCE_PX), (0, 0))
    wide = np.pad(patch, border, mode="reflect")
    corners = [(DISTANCE_PX + dx, DISTANCE_PX + dy) for dx, dy in OFFSETS_PX]
    return np.stack([wide[y : y + SIDE, x : x + SIDE] for x, y in corners])


def shift_report(probabilities: Sequence[float], threshold: float) -> ShiftReport:
    """Summarize the nine probabilities, the centre's first."""
    mean = fmean(probabilities)
    centre = probabilities[0] >= threshold
    return ShiftReport(
        offsets_px=list(OFFSETS_PX),
        probabilities=list(probabilities),
        max_deviation=max(abs(p - mean) for p in probabilities),
        label_agreement=fmean((p >= threshold) == centre for p in probabilities),
    )
