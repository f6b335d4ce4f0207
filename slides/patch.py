"""One cell's patch by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from model_zoo.turns import Patch
from slides.errors import SlideError
from slides.grid import Chunk, columns_of, pixels_of, rows_of
from slides.opened import OpenSlide

_MICRONS_PER_INCH = 25_400


def patch_of(opened: OpenSlide, column: int, row: int) -> Patch | None:
    """The patch whose labelled centre is this cell, uint8 [96, 96, 3]; None if a part of it cannot be read.

    Raises:
        SlideError: if the grid has no such cell.
    """
    columns, rows = columns_of(opened.plan), rows_of(opened.plan)
    if not (0 <= column < columns and 0 <= row < rows):
        raise SlideError(
            f"there is no cell at column {column}, row {row}: columns go from 0 to {columns - 1}, rows to {rows - 1}"
        )
    pixels, unreadable = opened.raster.read(pixels_of(Chunk(column, row, 1, 1)))
    return pixels if unreadable is None or not unreadable.any() else None


def write_patch(patch: Patch, microns_per_pixel: float, path: Path) -> None:
    """Write a PNG that states its scale."""
    dots = _MICRONS_PER_INCH / microns_per_pixel
    Image.fromarray(np.ascontiguousarray(patch)).save(path, format="PNG", dpi=(dots, dots))
