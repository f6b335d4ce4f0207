"""The probabilities at the offsets around a patch, as a grid of 3×3 squares."""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.shifts import DISTANCE_PX, ShiftReport

SIDE, GAP = 60.0, 4.0


@dataclass(frozen=True)
class GridCell:
    """One offset; ``x`` and ``y`` are drawing coordinates, ``height`` is the height of the filled part."""

    x: float
    y: float
    dx: int
    dy: int
    probability: float
    height: float

    @property
    def centre(self) -> bool:
        return (self.dx, self.dy) == (0, 0)


def shift_grid(shifts: ShiftReport) -> tuple[GridCell, ...]:
    """Lay out the offsets as on the slide: right is right, down is down."""
    return tuple(
        GridCell(
            x=_place(dx),
            y=_place(dy),
            dx=dx,
            dy=dy,
            probability=probability,
            height=round(SIDE * probability, 2),
        )
        for (dx, dy), probability in zip(shifts.offsets_px, shifts.probabilities, strict=True)
    )


def _place(offset: int) -> float:
    return (offset // DISTANCE_PX + 1) * (SIDE + GAP)
