"""Reads pixels of a slide file through OpenSlide, and says which of them cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from slides.errors import SlideError

GLASS = 255  # what lies beyond the slide, and where nothing was scanned
CACHE_BYTES = 48 * 2**20
SMALLEST = 128  # pixels; a smaller rectangle that cannot be read is not divided further
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

    Attributes:
        levels: the largest first.
        properties: OpenSlide's.
        vendor: OpenSlide's name of the format.

    Raises:
        SlideError: if the file is no slide that OpenSlide can open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._slide = _opened(path)
        slide = self._slide
        self.properties: Mapping[str, str] = dict(slide.properties)
        self.vendor = self.properties.get("openslide.vendor", "unknown")
        self.levels = tuple(
            Level(width, height, downsample)
            for (width, height), downsample in zip(slide.level_dimensions, slide.level_downsamples, strict=True)
        )
        largest = self.levels[0]
        if not (0 < largest.width <= MAX_PIXELS and 0 < largest.height <= MAX_PIXELS):
            raise SlideError(f"the slide has {largest.width} × {largest.height} pixels: it is empty or damaged")

    def close(self) -> None:
        self._slide.close()

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
            uint8 [height, width, 4], RGB and a fourth byte without meaning; and the rectangles, in pixels of the
            level, that could not be read, which are glass in the first.
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
        """A rectangle within the slide; where that fails, its quarters, until the unreadable part is found."""
        try:
            return self._read(level, part), []
        except openslide.OpenSlideError:
            self._slide.close()
            self._slide = _opened(self.path)  # OpenSlide reads nothing more after an error
        if max(part.width, part.height) <= SMALLEST:
            return np.full((part.height, part.width, 4), GLASS, np.uint8), [part]
        pixels = np.empty((part.height, part.width, 4), np.uint8)
        bad: list[Rectangle] = []
        for quarter in _quarters(part):
            inner, unreadable = self._parts(level, quarter)
            y, x = quarter.y - part.y, quarter.x - part.x
            pixels[y : y + quarter.height, x : x + quarter.width] = inner
            bad += unreadable
        return pixels, bad

    def _read(self, level: int, part: Rectangle) -> Pixels:
        downsample = self.levels[level].downsample
        at = (round(part.x * downsample), round(part.y * downsample))
        pixels = np.asarray(self._slide.read_region(at, level, (part.width, part.height)))
        if pixels.view("<u4").min() >= _OPAQUE:
            return pixels
        alpha = pixels[..., 3:].astype(np.uint16)
        mixed = (pixels * alpha + GLASS * (255 - alpha) + 127) // 255
        return mixed.astype(np.uint8)


def _opened(path: Path) -> openslide.OpenSlide:
    if not path.exists():
        raise SlideError("there is no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError("the file is empty: copy it again from where it came")
    try:
        if openslide.OpenSlide.detect_format(path) is None:
            raise SlideError(
                "OpenSlide does not know the format: it is no slide, cut off, or of a format that is not supported; "
                "copy the file again, or convert it to tiled TIFF or DICOM"
            )
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(f"OpenSlide cannot read this kind of file ({error}): convert it to tiled TIFF") from error
    except openslide.OpenSlideError as error:
        raise SlideError(f"the file is damaged or cut off ({error}): copy it again from where it came") from error
    slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
    return slide


def _quarters(part: Rectangle) -> list[Rectangle]:
    right, down = (part.width + 1) // 2, (part.height + 1) // 2
    corners = [(0, 0, right, down), (right, 0, part.width - right, down)]
    corners += [(0, down, right, part.height - down), (right, down, part.width - right, part.height - down)]
    return [Rectangle(part.x + x, part.y + y, w, h) for x, y, w, h in corners if w and h]
