"""What covering each square of a patch does to the probability, as a grid over the patch."""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.occlusion import OcclusionReport

LEAST = 0.005


@dataclass(frozen=True)
class Square:
    """One covered square, in pixels of the patch.

    Attributes:
        change: probability with the square covered minus without.
        weight: its size as a share of the largest change of the patch, from 0 to 1.
    """

    x: int
    y: int
    change: float
    weight: float

    @property
    def kind(self) -> str:
        """``falls`` where the probability falls without the square, ``rises``, or ``stays``."""
        if abs(self.change) < LEAST:
            return "stays"
        return "falls" if self.change < 0 else "rises"


def squares(report: OcclusionReport) -> tuple[Square, ...]:
    """The squares, row by row."""
    changes = [[probability - report.uncovered for probability in row] for row in report.probabilities]
    largest = max(LEAST, *(abs(change) for row in changes for change in row))
    return tuple(
        Square(report.square_px * column, report.square_px * row, change, round(abs(change) / largest, 3))
        for row, line in enumerate(changes)
        for column, change in enumerate(line)
    )
