"""How the network's answer changes where a square of the patch is covered.

Source: Zeiler and Fergus 2014, *Visualizing and understanding convolutional networks*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field

from model_zoo.golden import Logits
from model_zoo.turns import SIDE, Patch

SQUARE_PX = 16
GRID = SIDE // SQUARE_PX

Probability = Annotated[float, Field(ge=0, le=1)]
_Side = Field(min_length=GRID, max_length=GRID)


class Occlusion(StrEnum):
    """``none``: the whole patch only. ``report``: also with each of 36 squares covered; the decision stays the same."""

    NONE = "none"
    REPORT = "report"


@dataclass(slots=True, kw_only=True)
class OcclusionReport:
    """What covering one square at a time does to the probability of the patch as given."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    square_px: Annotated[int, Field(description="Side of a square in pixels; the squares tile the patch.")] = SQUARE_PX
    fill: Annotated[tuple[int, int, int], Field(description="The colour that covers a square: the patch's mean, RGB.")]
    uncovered: Annotated[Probability, Field(description="Calibrated, of the whole patch as given (not turned).")]
    probabilities: Annotated[
        list[Annotated[list[Probability], _Side]],
        _Side,
        Field(description="Calibrated, of the patch as given with the square in this row and column covered."),
    ]


def mean_colour(patch: Patch) -> tuple[int, int, int]:
    """The mean of each channel, rounded; sums of integers do not depend on how the patch is turned."""
    count = patch.shape[0] * patch.shape[1]
    sums = patch.reshape(count, 3).astype(np.int64).sum(axis=0)
    red, green, blue = ((2 * sums + count) // (2 * count)).tolist()
    return red, green, blue


def covered(patch: Patch) -> Patch:
    """The patch with each square covered by its mean colour, uint8 [36, 96, 96, 3], row by row."""
    copies = np.repeat(patch[None], GRID * GRID, axis=0)
    fill = mean_colour(patch)
    for number, copy in enumerate(copies):
        top, left = (SQUARE_PX * place for place in divmod(number, GRID))
        copy[top : top + SQUARE_PX, left : left + SQUARE_PX] = fill
    return copies


def measure_occlusion(patch: Patch, logits_of: Callable[[Patch], Logits]) -> Logits:
    """Logits, float32 [37, 2], of a patch, uint8 [96, 96, 3], and of it with each square covered, in one call.

    The map of a patch turned by an element of the network's exact subgroup is the map turned, to the last bit.
    """
    return logits_of(np.concatenate([patch[None], covered(patch)]))


def occlusion_report(patch: Patch, probabilities: Sequence[float]) -> OcclusionReport:
    """Put the 37 probabilities of :func:`measure_occlusion` in the places of their squares."""
    rows = [list(probabilities[begin : begin + GRID]) for begin in range(1, len(probabilities), GRID)]
    return OcclusionReport(square_px=SQUARE_PX, fill=mean_colour(patch), uncovered=probabilities[0], probabilities=rows)
