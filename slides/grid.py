"""The grid of cells: each the labelled centre of one patch, so that they tile the slide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.turns import SIDE
from slides.errors import SlideError
from slides.raster import Plan
from slides.reader import Rectangle
from slides.runfile import MAX_CELLS

STRIDE = 32
MARGIN = (SIDE - STRIDE) // 2
CHUNK = 48  # cells across and down that are scored at a time

_BITS = 32


@dataclass(frozen=True)
class Chunk:
    """A rectangle of cells: the first one's column and row, and how many across and down."""

    column: int
    row: int
    columns: int
    rows: int


def columns_of(how: Plan) -> int:
    return -(-how.width // STRIDE)


def rows_of(how: Plan) -> int:
    return -(-how.height // STRIDE)


def check_size(how: Plan) -> None:
    """Refuse a grid of too many cells.

    Raises:
        SlideError: if it has more than 16 million.
    """
    cells = columns_of(how) * rows_of(how)
    if cells > MAX_CELLS:
        raise SlideError(
            f"the slide has {cells} cells of {STRIDE} px at {how.microns_per_pixel:.4g} microns per pixel, expected at "
            f"most {MAX_CELLS}: check its scale, and cut it into parts"
        )


def edges(how: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges between columns, int64 [columns + 1], and between rows, int64 [rows + 1], in level-0 pixels."""
    across, down = (
        _edges(origin, count, extent, how)
        for origin, count, extent in zip(how.origin, (columns_of(how), rows_of(how)), how.extent, strict=True)
    )
    return across, down


def _edges(origin: int, count: int, extent: int, how: Plan) -> NDArray[np.int64]:
    step = round(how.factor * 2**_BITS) * how.downsample * STRIDE
    found = [origin + ((index * step + (1 << (_BITS - 1))) >> _BITS) for index in range(count)]
    return np.array([*found, max(extent, found[-1] + 1)], np.int64)


def chunks(how: Plan) -> Iterator[Chunk]:
    """All cells, in chunks that are at most 48 across and down, row by row."""
    columns, rows = columns_of(how), rows_of(how)
    for row in range(0, rows, CHUNK):
        for column in range(0, columns, CHUNK):
            yield Chunk(column, row, min(CHUNK, columns - column), min(CHUNK, rows - row))


def pixels_of(cells: Chunk, border: int = 0) -> Rectangle:
    """What the patches of these cells cover, in pixels at the model's scale, with a border around it."""
    beyond = MARGIN + border
    return Rectangle(
        cells.column * STRIDE - beyond,
        cells.row * STRIDE - beyond,
        cells.columns * STRIDE + 2 * beyond,
        cells.rows * STRIDE + 2 * beyond,
    )
