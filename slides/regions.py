"""Regions: connected cells whose probability, at a stated prevalence, is high together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_zoo.decision import at_prevalence
from slides.cells import STATES, Cells, State
from slides.components import Mask, components, enclosed, outlines
from slides.runfile import Run

Point = tuple[int, int]
Polygon = list[list[Point]]

_NOT_JUDGED = [STATES.index(state) for state in (State.NOT_ASSESSABLE, State.HOLE)]


class Rule(BaseModel):
    """What makes cells a region.

    Attributes:
        prevalence: share of a slide's cells that hold metastasis where it is used.
        high: probability at that prevalence which at least one cell of a region reaches.
        low: probability at that prevalence which every cell of a region reaches.
        min_area_mm2: smallest area that is shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prevalence: float = Field(default=0.05, gt=0, lt=1)
    high: float = Field(default=0.5, gt=0, lt=1)
    low: float = Field(default=0.2, gt=0, lt=1)
    min_area_mm2: float = Field(default=0.01, ge=0, le=1e6)

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Rule:
        if self.low > self.high:
            raise ValueError(f"the low bound {self.low} is above the high bound {self.high}")
        return self

    def bounds(self, calibration: float) -> tuple[float, float]:
        """``low`` and ``high`` as probabilities at the calibration's prevalence, which cells state."""
        low, high = (at_prevalence(bound, calibration, self.prevalence) for bound in (self.low, self.high))
        return low, high


@dataclass(frozen=True)
class Deviation:
    """How far answers of a region's cells moved when they were turned, or cut elsewhere.

    Attributes:
        measured: cells in which it was measured.
        largest: deviation of a probability; None if none was measured.
        beyond: measured cells that deviate by more than the model's limit; None where there is no limit.
    """

    measured: int
    largest: float | None
    beyond: int | None


@dataclass(frozen=True, eq=False)
class Region:
    """One region; probabilities with ``_moved`` are at the rule's prevalence, the others at the calibration's.

    Attributes:
        number: from 1, by the largest probability.
        rows: int64 [cells], the grid's row of each cell.
        columns: int64 [cells], its column.
        not_judged_inside: cells that are enclosed by the region and could not be judged.
        not_judged_beside: such cells that touch its rim, at a side or corner.
        polygons: in level-0 pixels, each an outer ring and its holes; parts that touch only at corners are apart.
    """

    number: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    area_mm2: float
    mean: float
    largest: float
    mean_moved: float
    largest_moved: float
    turns: Deviation
    shifts: Deviation
    not_judged_inside: int
    not_judged_beside: int
    polygons: list[Polygon]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in level-0 pixels."""
        x, y = zip(*(point for outer, *_ in self.polygons for point in outer), strict=True)
        return min(x), min(y), max(x), max(y)


def cell_areas_mm2(run: Run, cells: Cells) -> NDArray[np.float64]:
    """The area of each cell, float64 [rows, columns]."""
    areas: NDArray[np.float64] = np.outer(np.diff(cells.y), np.diff(cells.x)) * _pixel_mm2(run)
    return areas


def _pixel_mm2(run: Run) -> float:
    return (run.slide.microns_per_pixel / 1000) ** 2


def find_regions(run: Run, cells: Cells, rule: Rule) -> list[Region]:
    """Regions by hysteresis: cells of at least ``low`` that hang together and reach ``high`` somewhere.

    Cells hang together by sides and corners. Only scored cells count: what could not be judged ends a region, and is
    counted. Regions are ordered by their largest probability, equal ones from the top and the left.
    """
    low, high = rule.bounds(run.model.calibration_prevalence)
    probability = np.where(cells.where(State.SCORED), cells.probability, -1.0)
    labels, count = components(probability >= low, 8)
    areas = np.bincount(labels.ravel(), weights=cell_areas_mm2(run, cells).ravel(), minlength=count + 1)
    wanted = np.zeros(count + 1, dtype=np.bool_)
    wanted[labels[probability >= high]] = True
    wanted &= areas >= rule.min_area_mm2
    wanted[0] = False
    members = _members(np.where(wanted[labels], labels, 0))
    ordered = sorted(members, key=lambda at: (-probability[at].max(), at[0][0], at[1][0]))
    return [_region(number, at, run, cells, rule) for number, at in enumerate(ordered, start=1)]


def _members(labels: NDArray[np.int32]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and columns of each label's cells, row by row."""
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    order = np.argsort(numbers, kind="stable")
    starts = [*np.flatnonzero(np.diff(numbers[order], prepend=0)).tolist(), len(order)]
    return [(rows[order[start:end]], columns[order[start:end]]) for start, end in pairwise(starts)]


def _region(number: int, at: tuple[NDArray[np.int64], NDArray[np.int64]], run: Run, cells: Cells, rule: Rule) -> Region:
    rows, columns = at
    mask, top, left = _window(rows, columns)
    hollow = enclosed(mask)
    not_judged = _not_judged(cells, mask.shape, top, left)
    probability = cells.probability[at]
    calibration = run.model.calibration_prevalence
    moved = [at_prevalence(value, rule.prevalence, calibration) for value in probability.tolist()]
    return Region(
        number=number,
        rows=rows,
        columns=columns,
        area_mm2=float((np.diff(cells.y)[rows] * np.diff(cells.x)[columns]).sum()) * _pixel_mm2(run),
        mean=float(probability.mean()),
        largest=float(probability.max()),
        mean_moved=float(np.mean(moved)),
        largest_moved=max(moved),
        turns=_deviation(cells.turns[at], run.model.consistency_limit),
        shifts=_deviation(cells.shifts[at], None),
        not_judged_inside=int((not_judged & hollow).sum()),
        not_judged_beside=int((not_judged & _around(mask) & ~hollow).sum()),
        polygons=[
            [[(int(cells.x[left + x]), int(cells.y[top + y])) for y, x in ring] for ring in polygon]
            for polygon in outlines(mask)
        ],
    )


def _window(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> tuple[Mask, int, int]:
    """The cells in their bounding box with a margin of one cell, and the row and column at which that begins."""
    top, left = int(rows.min()) - 1, int(columns.min()) - 1
    mask = np.zeros((int(rows.max()) - top + 2, int(columns.max()) - left + 2), dtype=np.bool_)
    mask[rows - top, columns - left] = True
    return mask, top, left


def _not_judged(cells: Cells, shape: tuple[int, ...], top: int, left: int) -> Mask:
    """Cells of a window that hold tissue but no answer; what lies beyond the grid holds none."""
    window = np.zeros(shape, dtype=np.bool_)
    inner = np.s_[max(top, 0) : top + shape[0], max(left, 0) : left + shape[1]]
    found = np.isin(cells.state[inner], _NOT_JUDGED)
    y, x = max(top, 0) - top, max(left, 0) - left
    window[y : y + found.shape[0], x : x + found.shape[1]] = found
    return window


def _around(mask: Mask) -> Mask:
    """The cells that touch a mask at a side or corner; the mask leaves a margin of one cell."""
    wide = np.pad(mask, 1)
    rows, columns = mask.shape
    touched = np.zeros_like(mask)
    for down in range(3):
        for right in range(3):
            touched |= wide[down : down + rows, right : right + columns]
    return touched & ~mask


def _deviation(values: NDArray[np.float64], limit: float | None) -> Deviation:
    known = values[~np.isnan(values)]
    return Deviation(
        measured=len(known),
        largest=float(known.max()) if len(known) else None,
        beyond=None if limit is None else int((known > limit).sum()),
    )
