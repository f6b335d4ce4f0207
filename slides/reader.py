"""Reads pixels of a slide file as OpenSlide does, and says which of them cannot be read."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slides import dicom
from slides.errors import SlideError
from slides.tiles import Tiles

if TYPE_CHECKING:
    import openslide

GLASS = 255  # what lies beyond the slide, and where nothing was scanned
CACHE_BYTES = 48 * 2**20
TILE = 128  # pixels; where the file does not say how large its tiles are
MAX_PIXELS = 2**31 - 1  # of a side
_OPAQUE = 0xFF000000  # the fourth byte of a pixel is the highest

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Rectangle:
    """Pixels of one level: left and upper edge, width and height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Level:
    """One stored resolution.

    Attributes:
        width, height: in its own pixels.
        downsample: level-0 pixels to one of its pixels, as OpenSlide states it.
    """

    width: int
    height: int
    downsample: float


class Reader:
    """An open slide; of one thread at a time.

    Args:
        path: the slide's file, or a folder of DICOM files.

    Attributes:
        path: the file that is open.
        levels: the largest first.
        properties: OpenSlide's.
        vendor: OpenSlide's name of the format.

    Raises:
        SlideError: if the file is no slide that OpenSlide can open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = dicom.file_of(path)
        self._slide = _opened(path)
        self._memory = np.empty(0, np.uint32)
        slide = self._slide
        self.properties: Mapping[str, str] = dict(slide.properties)
        self.vendor = self.properties.get("openslide.vendor", "unknown")
        self.levels = tuple(
            Level(width, height, downsample)
            for (width, height), downsample in zip(slide.level_dimensions, slide.level_downsamples, strict=True)
        )
        if self.vendor == "dicom":
            dicom.check_image(path, self.properties)
        largest = self.levels[0]
        if not (0 < largest.width <= MAX_PIXELS and 0 < largest.height <= MAX_PIXELS):
            raise SlideError(f"the slide has {largest.width} × {largest.height} pixels: it is empty or damaged")
        sizes = [(level.width, level.height) for level in self.levels]
        self._tiles = Tiles(path, self.vendor, sizes, CACHE_BYTES)
        self._proved: set[int] = set()

    def close(self) -> None:
        self._slide.close()
        self._tiles.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bounds(self) -> Rectangle:
        """What was scanned, in level-0 pixels: all of it unless the file says less."""
        level = self.levels[0]
        try:
            x, y, width, height = (
                int(self.properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height")
            )
        except (KeyError, ValueError):
            return Rectangle(0, 0, level.width, level.height)
        inside = 0 <= x < level.width and 0 <= y < level.height and width > 0 and height > 0
        if not inside:
            return Rectangle(0, 0, level.width, level.height)
        return Rectangle(x, y, min(width, level.width - x), min(height, level.height - y))

    def read(self, level: int, wanted: Rectangle) -> tuple[Pixels, list[Rectangle]]:
        """Pixels of one level, glass where the slide has none.

        Args:
            level: index into ``levels``; its pixels must lie on whole level-0 pixels.
            wanted: in the level's pixels; may reach beyond the slide.

        Returns:
            uint8 [height, width, 4], blue, green, red and a byte without meaning, good until the next call; and the
            rectangles, in pixels of the level, that could not be read, which are glass in the first.
        """
        size = self.levels[level]
        left, top = max(wanted.x, 0), max(wanted.y, 0)
        right, bottom = min(wanted.x + wanted.width, size.width), min(wanted.y + wanted.height, size.height)
        if (left, top, right - left, bottom - top) == (wanted.x, wanted.y, wanted.width, wanted.height):
            return self._parts(level, wanted)
        pixels = np.full((wanted.height, wanted.width, 4), GLASS, np.uint8)
        bad: list[Rectangle] = []
        if left < right and top < bottom:
            inner, bad = self._parts(level, Rectangle(left, top, right - left, bottom - top))
            pixels[top - wanted.y : bottom - wanted.y, left - wanted.x : right - wanted.x] = inner
        return pixels, bad

    def _parts(self, level: int, part: Rectangle) -> tuple[Pixels, list[Rectangle]]:
        """A rectangle within the slide; where that fails, its halves, down to the stored tiles that fail."""
        from openslide import OpenSlideError

        decoded = self._tiles.read(level, part.x, part.y, part.width, part.height)
        if decoded is not None and level in self._proved:
            return decoded, []
        try:
            drawn = self._read(level, part)
            if decoded is not None:
                self._prove(level, decoded, drawn)
            return drawn, []
        except OpenSlideError:
            self._slide.close()
            self._slide = _opened(self.path)  # OpenSlide reads nothing more after an error
        pixels = np.full((part.height, part.width, 4), GLASS, np.uint8)
        halves = _halves(part, *self._tile(level))
        bad = [] if halves else [part]
        for half in halves:
            inner, unreadable = self._parts(level, half)
            y, x = half.y - part.y, half.x - part.x
            pixels[y : y + half.height, x : x + half.width] = inner
            bad += unreadable
        return pixels, bad

    def _prove(self, level: int, decoded: Pixels, drawn: Pixels) -> None:
        """Tiles are decoded only on levels whose first rectangle OpenSlide reads to the same pixels."""
        if np.array_equal(decoded[..., :3], drawn[..., :3]):
            self._proved.add(level)
        else:
            self._tiles.drop(level)

    def _tile(self, level: int) -> tuple[int, int]:
        """Width and height of a level's stored tiles."""
        sides = (self.properties.get(f"openslide.level[{level}].tile-{name}", "") for name in ("width", "height"))
        width, height = (int(side) if side.isdecimal() and 16 <= int(side) <= 4096 else TILE for side in sides)
        return width, height

    def _read(self, level: int, part: Rectangle) -> Pixels:
        """What OpenSlide paints, straight into memory that is used again: its Python way copies it twice."""
        from openslide import lowlevel

        downsample = self.levels[level].downsample
        size = part.width * part.height
        if size > len(self._memory):
            self._memory = np.empty(size, np.uint32)
        x, y = round(part.x * downsample), round(part.y * downsample)
        pointer = self._memory.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
        lowlevel._read_region(self._slide._osr, pointer, x, y, level, part.width, part.height)
        painted = self._memory[:size].reshape(part.height, part.width)
        if painted.min() < _OPAQUE:  # colours are multiplied by alpha, the highest byte, already
            painted += (255 - (painted >> 24)) * np.uint32(0x010101)
        return painted.view(np.uint8).reshape(part.height, part.width, 4)


def _opened(path: Path) -> openslide.OpenSlide:
    import openslide  # the commands' help works without the extra

    if not path.exists():
        raise SlideError("there is no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError("the file is empty: copy it again from where it came")
    of_dicom = path.suffix.lower() == dicom.SUFFIX
    if of_dicom:
        dicom.check_sparse(path)
    try:
        if openslide.OpenSlide.detect_format(path) is None:
            raise SlideError(
                "OpenSlide does not recognize the format: the file is not a slide, is cut off, or is not supported "
                "(such as a classic TIFF in big-endian byte order); copy it again, "
                "or convert it to tiled BigTIFF or DICOM"
            )
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(f"OpenSlide cannot read this kind of file ({error}): convert it to tiled TIFF") from error
    except openslide.OpenSlideError as error:
        if of_dicom:
            raise SlideError(dicom.refusal(error)) from error
        raise SlideError(f"the file is damaged or cut off ({error}): copy it again from where it came") from error
    slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
    return slide


def _halves(part: Rectangle, width: int, height: int) -> list[Rectangle]:
    """A rectangle cut between two tiles, where most lie beside each other; empty if it lies in one."""
    columns, first_column = _tiles(part.x, part.width, width)
    rows, first_row = _tiles(part.y, part.height, height)
    if max(columns, rows) < 2:
        return []
    if columns >= rows:
        cut = (first_column + columns // 2) * width - part.x
        return [
            Rectangle(part.x, part.y, cut, part.height),
            Rectangle(part.x + cut, part.y, part.width - cut, part.height),
        ]
    cut = (first_row + rows // 2) * height - part.y
    return [
        Rectangle(part.x, part.y, part.width, cut),
        Rectangle(part.x, part.y + cut, part.width, part.height - cut),
    ]


def _tiles(start: int, length: int, size: int) -> tuple[int, int]:
    """How many tiles a stretch touches, and the first of them."""
    first = start // size
    return (start + length - 1) // size + 1 - first, first
