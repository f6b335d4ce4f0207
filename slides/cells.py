"""``cells.csv``: what was found in each cell of the grid; the one reader and writer of the format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from math import isfinite, nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slides.runfile import Grid, Run, RunError, read_runfile, write_atomically

CELLS_FILE = "cells.csv"
COLUMNS = (
    *("column", "row", "x", "y", "width", "height", "state", "reason"),
    *("logit_0", "logit_1", "probability", "turns", "shifts"),
    *("tissue", "sharpness", "density_red", "density_green", "density_blue"),
)
REASONS = frozenset({"tissue", "no_tissue", "sharpness", "stain", "scope", "unreadable", "crashed", "other"})
MAX_LINE = 1000
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class State(StrEnum):
    """``scored``: judged. ``glass``: no tissue. ``not_assessable``: tissue that is refused. ``hole``: not read."""

    SCORED = "scored"
    GLASS = "glass"
    NOT_ASSESSABLE = "not_assessable"
    HOLE = "hole"


STATES = tuple(State)
_CODE = {state.value: code for code, state in enumerate(STATES)}


@dataclass(eq=False)
class Cells:
    """One value for each cell; NaN where nothing was measured.

    Attributes:
        x: int64 [columns + 1], the edges between columns in level-0 pixels, rising: cells tile the slide.
        y: int64 [rows + 1], the edges between rows.
        state: uint8 [rows, columns], indices into ``STATES``.
        reason: of row and column, space-separated codes; cells without one are left out.
        logits: float32 [rows, columns, 2], of the patch as given.
        probability: float64 [rows, columns], calibrated, on the run's basis.
        turns: float64 [rows, columns], largest deviation of the probability over the measured turns from their mean.
        shifts: float64 [rows, columns], the same over the nine shifts.
        tissue: float64 [rows, columns], share of the disc that is tissue.
        sharpness: float64 [rows, columns], variance of the Laplacian in grey levels squared.
        density: float64 [rows, columns, 3], mean optical density of the tissue per channel.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    state: NDArray[np.uint8]
    logits: NDArray[np.float32]
    probability: NDArray[np.float64]
    turns: NDArray[np.float64]
    shifts: NDArray[np.float64]
    tissue: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    density: NDArray[np.float64]
    reason: dict[tuple[int, int], str] = field(default_factory=dict)

    @classmethod
    def glass(cls, x: Sequence[int] | NDArray[np.int64], y: Sequence[int] | NDArray[np.int64]) -> Cells:
        """Cells between these edges, in level-0 pixels, all of them glass."""
        shape = (len(y) - 1, len(x) - 1)
        one, two, three = (np.full((*shape, *more), nan) for more in ((), (2,), (3,)))
        return cls(
            x=np.asarray(x, dtype=np.int64),
            y=np.asarray(y, dtype=np.int64),
            state=np.full(shape, _CODE[State.GLASS], dtype=np.uint8),
            logits=two.astype(np.float32),
            probability=one,
            turns=one.copy(),
            shifts=one.copy(),
            tissue=one.copy(),
            sharpness=one.copy(),
            density=three,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.state.shape
        return rows, columns

    def where(self, state: State) -> NDArray[np.bool_]:
        """Bool [rows, columns]: the cells in this state."""
        found: NDArray[np.bool_] = self.state == _CODE[state]
        return found

    def put(self, where: tuple[int, int] | NDArray[np.bool_], state: State) -> None:
        """Set the state of one cell, by row and column, or of those where a mask is true."""
        self.state[where] = _CODE[state]


def read_run(folder: Path) -> tuple[Run, Cells]:
    """Read a run folder.

    Raises:
        RunError: if a file is missing or not as the format says, or the run is not complete.
    """
    run = read_runfile(folder)
    if run.state != "complete":
        raise RunError(f"the run in {folder} is not complete: start `rosette slide score` again, it goes on there")
    return run, read_cells(folder / CELLS_FILE, run.grid)


def write_cells(path: Path, cells: Cells) -> None:
    """Write ``cells.csv`` whole or not at all, one row for each cell in row-major order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(cells))
    write_atomically(path, text.getvalue().encode("ascii"))


def _lines(cells: Cells) -> Iterator[list[object]]:
    x, y = cells.x.tolist(), cells.y.tolist()
    for row in range(len(y) - 1):
        numbers = [a[row].tolist() for a in (cells.probability, cells.turns, cells.shifts, cells.tissue)]
        state, logits, sharpness = (a[row].tolist() for a in (cells.state, cells.logits, cells.sharpness))
        density = cells.density[row].tolist()
        for column in range(len(x) - 1):
            probability, turns, shifts, tissue = (_text(values[column]) for values in numbers)
            yield [
                *(column, row, x[column], y[row], x[column + 1] - x[column], y[row + 1] - y[row]),
                *(STATES[state[column]].value, cells.reason.get((row, column), "")),
                *("" if value != value else value.hex() for value in logits[column]),
                *(probability, turns, shifts, tissue, _text(sharpness[column]), *map(_text, density[column])),
            ]


def _text(value: float) -> str:
    return "" if value != value else repr(value)


def read_cells(path: Path, grid: Grid) -> Cells:
    """Read ``cells.csv``, strictly.

    Raises:
        RunError: naming the line, if it is missing, damaged, or not of this grid.
    """
    try:
        with path.open(encoding="ascii", errors="backslashreplace", newline="") as file:
            return _Reader(path, grid).read(file)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): give the folder of a run") from error


class _Reader:
    def __init__(self, path: Path, grid: Grid) -> None:
        self.path, self.grid = path, grid
        self.cells = Cells.glass(np.zeros(grid.columns + 1, np.int64), np.zeros(grid.rows + 1, np.int64))

    def read(self, file: io.TextIOWrapper) -> Cells:
        lines = csv.reader(_bounded(file), strict=True)
        number, expected = 1, self.grid.columns * self.grid.rows
        try:
            if tuple(next(lines, ())) != COLUMNS:
                raise RunError(f"expected the columns {','.join(COLUMNS)}")
            for row, column in product(range(self.grid.rows), range(self.grid.columns)):
                number += 1
                fields = next(lines, None)
                if fields is None:
                    raise RunError(f"it ends here, expected {expected} cells")
                self._take(row, column, fields)
            number += 1
            if next(lines, None) is not None:
                raise RunError(f"it goes on, expected {expected} cells")
        except (ValueError, OverflowError, csv.Error) as error:
            raise RunError(f"{self.path}, line {number}: {error}: score the slide again") from error
        return self.cells

    def _take(self, row: int, column: int, fields: list[str]) -> None:
        if len(fields) != len(COLUMNS):
            raise RunError(f"{len(fields)} fields, expected {len(COLUMNS)}")
        if fields[:2] != [str(column), str(row)]:
            raise RunError(f"column {fields[0]}, row {fields[1]}, expected column {column}, row {row}")
        self._place(row, column, *(_integer(text) for text in fields[2:6]))
        state, reason = fields[6:8]
        if state not in _CODE:
            raise RunError(f"the state {state!r}, expected one of {', '.join(_CODE)}")
        if state == State.GLASS and not any(fields[7:]):
            return  # what all cells are to begin with, and most of a slide
        if unknown := set(reason.split()) - REASONS:
            raise RunError(f"the reason {sorted(unknown)[0]!r}, expected one of {', '.join(sorted(REASONS))}")
        cells, at = self.cells, (row, column)
        cells.state[at] = _CODE[state]
        if reason:
            cells.reason[at] = reason
        cells.logits[at] = [_logit(text) for text in fields[8:10]]
        numbers = [_number(text) for text in fields[10:]]
        cells.probability[at], cells.turns[at], cells.shifts[at], cells.tissue[at], cells.sharpness[at] = numbers[:5]
        cells.density[at] = numbers[5:]
        _check_state(State(state), reason, fields[8:11], numbers[:4])

    def _place(self, row: int, column: int, x: int, y: int, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise RunError(f"a cell of {width} × {height} px, expected at least one pixel")
        for edges, at, low, size in ((self.cells.x, column, x, width), (self.cells.y, row, y, height)):
            first = (row if edges is self.cells.x else column) == 0
            if first:
                if at and edges[at] != low:
                    raise RunError(f"the cell begins at pixel {low}, expected {edges[at]}, where its neighbour ends")
                edges[at], edges[at + 1] = low, low + size
            elif (edges[at], edges[at + 1]) != (low, low + size):
                raise RunError(f"pixels {low} to {low + size}, expected {edges[at]} to {edges[at + 1]} as before")


def _check_state(state: State, reason: str, answer: list[str], shares: list[float]) -> None:
    given = [bool(text) for text in answer]
    if any(given) != all(given):
        raise RunError("some of both logits and the probability are missing, expected all or none")
    if state is State.SCORED and not all(given):
        raise RunError("a scored cell without logits and probability")
    if state in {State.GLASS, State.HOLE} and any(given):
        raise RunError(f"a cell that is {state.value} with logits")
    if (state is State.SCORED and reason) or (state in {State.NOT_ASSESSABLE, State.HOLE} and not reason):
        raise RunError(f"a cell that is {state.value} {'with' if reason else 'without'} a reason")
    if any(not 0 <= share <= 1 for share in shares if share == share):
        raise RunError("a probability, deviation or share of tissue outside 0 to 1")


def _bounded(file: io.TextIOWrapper) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise RunError(f"longer than {MAX_LINE - 1} characters")
        yield line


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 11 else 2**40
    if str(value) != text or abs(value) >= 2**31:
        raise RunError(f"{text[:20]!r}, expected a whole number of pixels")
    return value


def _logit(text: str) -> float:
    if not text:
        return nan
    value = float.fromhex(text)
    if not abs(value) <= _FLOAT32_MAX or float(np.float32(value)) != value:
        raise RunError(f"the logit {text!r}, expected a finite float32 as hexadecimal text")
    return value


def _number(text: str) -> float:
    if not text:
        return nan
    value = float(text)
    if not isfinite(value):
        raise RunError(f"{text!r}, expected a finite number")
    return value
