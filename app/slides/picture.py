"""Pictures of an open slide for people: an overview, tiles, and a cell's patch. Runs in the slide's own process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from model_zoo.turns import Patch
from slides.errors import SlideError
from slides.grid import Chunk, check_size, columns_of, pixels_of, rows_of
from slides.raster import Plan, Raster, plan
from slides.reader import Pixels, Reader, Rectangle
from slides.scale import scale_of

TILE, OVERLAP = 254, 1
OVERVIEW = 2048  # pixels of its longer side
JPEG_QUALITY = 82
UNREADABLE = 128  # grey: what cannot be read must not look like glass
_STRIP_PIXELS = 2**23
_MOST_PIXELS = 2**31  # read for an overview
_MICRONS_PER_INCH = 25_400


@dataclass(frozen=True)
class Size:
    width: int
    height: int


class Picture:
    """What is shown of one slide.

    Args:
        path: the slide's file.

    Raises:
        SlideError: if OpenSlide cannot open it.
    """

    def __init__(self, path: Path) -> None:
        self.reader = Reader(path)
        self.bounds = self.reader.bounds

    @property
    def levels(self) -> int:
        """Levels of Deep Zoom: from one pixel to all."""
        return (self._longer - 1).bit_length() + 1

    @property
    def _longer(self) -> int:
        return max(self.bounds.width, self.bounds.height)

    def thumbnail(self, longest: int) -> bytes:
        """JPEG of all that was scanned, at most so many pixels across and down."""
        picture = self._overview.copy()
        picture.thumbnail((longest, longest), Image.Resampling.BOX)
        return _jpeg(picture)

    def tile(self, level: int, column: int, row: int) -> bytes:
        """JPEG of a Deep Zoom tile.

        Raises:
            SlideError: if there is no such tile.
        """
        size = self.size_of(level)
        left, top = max(0, column * TILE - OVERLAP), max(0, row * TILE - OVERLAP)
        right, bottom = min(size.width, (column + 1) * TILE + OVERLAP), min(size.height, (row + 1) * TILE + OVERLAP)
        if column < 0 or row < 0 or column * TILE >= size.width or row * TILE >= size.height:
            raise SlideError(f"there is no tile at column {column}, row {row} of level {level}")
        if max(size.width, size.height) <= OVERVIEW:
            scaled = self._overview.resize((size.width, size.height), Image.Resampling.BOX)
            return _jpeg(scaled.crop((left, top, right, bottom)))
        factor = 2.0 ** (self.levels - 1 - level)
        return _jpeg(self._part(factor, left, top, Size(right - left, bottom - top)))

    def size_of(self, level: int) -> Size:
        """Pixels of a Deep Zoom level.

        Raises:
            SlideError: if there is no such level.
        """
        if not 0 <= level < self.levels:
            raise SlideError(f"there is no level {level}: levels go from 0 to {self.levels - 1}")
        factor = 2 ** (self.levels - 1 - level)
        return Size(-(-self.bounds.width // factor), -(-self.bounds.height // factor))

    def patch(self, model_mpp: float, column: int, row: int) -> bytes:
        """PNG of the patch whose centre is this cell, as a run scores it.

        Raises:
            SlideError: if the slide cannot be scored, the grid has no such cell, or a part of it cannot be read.
        """
        how = self.plan(model_mpp)
        columns, rows = columns_of(how), rows_of(how)
        if not (0 <= column < columns and 0 <= row < rows):
            raise SlideError(
                f"there is no cell at column {column}, row {row}: "
                f"columns go from 0 to {columns - 1}, rows to {rows - 1}"
            )
        pixels, unreadable = Raster(self.reader, how).read(pixels_of(Chunk(column, row, 1, 1)))
        if unreadable is not None and unreadable.any():
            raise SlideError(f"a part of the cell at column {column}, row {row} cannot be read: the file is damaged")
        return _png(pixels, how.microns_per_pixel)

    def plan(self, model_mpp: float) -> Plan:
        """How the slide is read at a model's scale.

        Raises:
            SlideError: if it cannot be.
        """
        how = plan(self.reader.levels, self.bounds, scale_of(self.reader.properties).microns_per_pixel, model_mpp)
        check_size(how)
        return how

    @cached_property
    def _overview(self) -> Image.Image:
        """All that was scanned, read in strips, at most ``OVERVIEW`` pixels across and down."""
        factor = max(1.0, self._longer / OVERVIEW)
        width, height = (max(1, round(side / factor)) for side in (self.bounds.width, self.bounds.height))
        level = self._level_for(factor)
        down = self.reader.levels[level].downsample
        if self.bounds.width / down * self.bounds.height / down > _MOST_PIXELS:
            raise SlideError("the slide has no smaller level to show it from: convert it to a pyramid")
        whole = Image.new("RGB", (width, height), (255, 255, 255))
        rows = max(1, int(_STRIP_PIXELS * down / self.bounds.width * down / factor))
        for top in range(0, height, rows):
            whole.paste(self._part(factor, 0, top, Size(width, min(rows, height - top))), (0, top))
        return whole

    def _part(self, factor: float, left: int, top: int, size: Size) -> Image.Image:
        """Pixels of the slide at ``factor`` level-0 pixels to one."""
        level = self._level_for(factor)
        down = self.reader.levels[level].downsample
        ratio = factor / down
        x, y = self.bounds.x / down + left * ratio, self.bounds.y / down + top * ratio
        part = Rectangle(round(x), round(y), max(1, round(size.width * ratio)), max(1, round(size.height * ratio)))
        if part.width * part.height > 4 * _STRIP_PIXELS:
            raise SlideError("the slide has no smaller level to show this from: convert it to a pyramid")
        pixels, bad = self.reader.read(level, part)
        for each in bad:
            pixels[each.y - part.y : each.y - part.y + each.height, each.x - part.x : each.x - part.x + each.width] = (
                UNREADABLE
            )
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 2::-1]))  # the reader gives blue first
        target = (size.width, size.height)
        return picture if picture.size == target else picture.resize(target, Image.Resampling.BOX)

    def _level_for(self, factor: float) -> int:
        fine = [index for index, level in enumerate(self.reader.levels) if level.downsample <= factor * 1.001]
        return max(fine, key=lambda index: self.reader.levels[index].downsample, default=0)


def _jpeg(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _png(pixels: Patch | Pixels, microns_per_pixel: float) -> bytes:
    dots = _MICRONS_PER_INCH / microns_per_pixel
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", dpi=(dots, dots))
    return stream.getvalue()
