"""A slide's pixels at the model's scale: which level they come from, and how that is resampled.

All positions are integers, and every pixel's weights follow from its own position alone: a pixel has the same bytes in
whichever block it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slides import kernels
from slides.errors import SlideError
from slides.reader import Level, Pixels, Reader, Rectangle

SAME_SCALE = 0.02
STRIP = 32  # rows of the result that are made at a time, so that they stay in the processor's cache
STRIP_PIXELS = 2**15  # more rows of narrow results

_WEIGHT = 256  # the weights of a pixel add up to it, across and down
_FINE_BITS = 32  # of the factor's fraction
_EDGE_BITS = 10  # of an edge's fraction


@dataclass(frozen=True)
class Plan:
    """How pixels at the model's scale are made.

    Attributes:
        level: index of the level that is read.
        downsample: level-0 pixels to one of its pixels.
        factor: its pixels to one of the result; 1 where the level is used as stored.
        filter: ``"none"``: as stored; ``"area"``: the mean over the area that a pixel of the result covers.
        microns_per_pixel: of the result.
        origin: level-0 pixel at which the result's first pixel begins, left and top.
        width, height: of the result, in its pixels.
        extent: right and lower edge of what was scanned, in level-0 pixels.
    """

    level: int
    downsample: int
    factor: float
    filter: Literal["area", "none"]
    microns_per_pixel: float
    origin: tuple[int, int]
    width: int
    height: int
    extent: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Level-0 pixels to one pixel of the result."""
        return self.factor * self.downsample


def plan(levels: Sequence[Level], bounds: Rectangle, slide_mpp: float, model_mpp: float) -> Plan:
    """Choose the level: one within 2 % of the model's scale as stored, else the next finer one.

    A level above the first is chosen only if its pixels lie on whole level-0 pixels: OpenSlide would resample others.

    Args:
        levels: the largest first.
        bounds: what was scanned, in level-0 pixels.
        slide_mpp: microns per pixel of level 0.
        model_mpp: microns per pixel that the model expects.

    Raises:
        SlideError: if the slide is coarser than the model expects.
    """
    if slide_mpp > model_mpp * (1 + SAME_SCALE):
        raise SlideError(
            f"the slide has {slide_mpp:.4g} microns per pixel, and the model needs {model_mpp:g} or finer: "
            "pixels are never made up; scan the slide again at a higher magnification"
        )
    usable = [
        (index, round(level.downsample))
        for index, level in enumerate(levels)
        if index == 0 or abs(level.downsample - round(level.downsample)) * max(level.width, level.height) < 1e-6
    ]
    fine = [found for found in usable if slide_mpp * found[1] <= model_mpp * (1 + SAME_SCALE)]
    level, downsample = max(fine, key=lambda found: found[1])
    stored = slide_mpp * downsample
    same = abs(stored - model_mpp) <= SAME_SCALE * model_mpp
    factor = 1.0 if same else model_mpp / stored
    x, y = (edge - edge % downsample for edge in (bounds.x, bounds.y))
    right, bottom = bounds.x + bounds.width, bounds.y + bounds.height
    return Plan(
        level=level,
        downsample=downsample,
        factor=factor,
        filter="none" if same else "area",
        microns_per_pixel=stored if same else model_mpp,
        origin=(x, y),
        width=_length(right - x, factor * downsample),
        height=_length(bottom - y, factor * downsample),
        extent=(right, bottom),
    )


def _length(pixels: int, ratio: float) -> int:
    return max(1, -int(-(pixels - 0.5) // ratio))


class Raster:
    """A slide at the model's scale."""

    def __init__(self, reader: Reader, how: Plan) -> None:
        self.reader = reader
        self.plan = how

    def read(self, wanted: Rectangle) -> tuple[Pixels, NDArray[np.bool_] | None]:
        """Pixels at the model's scale.

        Args:
            wanted: in pixels of the result; what lies beyond the slide is glass.

        Returns:
            uint8 [height, width, 3]; and bool [height, width], true where a pixel could not be read, or None.
        """
        pixels = np.empty((wanted.height, wanted.width, 3), np.uint8)
        across = Taps.of(wanted.x, wanted.width, self.plan)
        unreadable: NDArray[np.bool_] | None = None
        strip = max(STRIP, STRIP_PIXELS // wanted.width)
        for top in range(0, wanted.height, strip):
            height = min(strip, wanted.height - top)
            bad = self._fill(pixels[top : top + height], across, Taps.of(wanted.y + top, height, self.plan))
            if bad is not None:
                unreadable = np.zeros(pixels.shape[:2], np.bool_) if unreadable is None else unreadable
                unreadable[top : top + height] = bad
        return pixels, unreadable

    def _fill(self, made: Pixels, across: Taps, down: Taps) -> NDArray[np.bool_] | None:
        """Fill a strip of the result, uint8 [height, width, 3]; bool [height, width], true where it was not read."""
        x, y = (edge // self.plan.downsample for edge in self.plan.origin)
        part = Rectangle(x + across.first, y + down.first, across.length, down.length)
        pixels, bad = self.reader.read(self.plan.level, part)
        if self.plan.filter == "none":
            made[:] = pixels[..., 2::-1]
        else:
            (compiled_averages if kernels.COMPILED else numpy_averages)(pixels, across, down, made)
        if not bad:
            return None
        unreadable = np.zeros(made.shape[:2], np.bool_)
        for each in bad:
            rows = down.touching(each.y - part.y, each.height)
            columns = across.touching(each.x - part.x, each.width)
            unreadable[rows[0] : rows[1], columns[0] : columns[1]] = True
        return unreadable


@dataclass(frozen=True)
class Taps:
    """Which pixels of a level make those of the result, along one axis.

    Attributes:
        first: first pixel of the level that is needed, from the plan's origin.
        length: how many.
        index: int64 [taps, n], from ``first``.
        weight: uint16 [taps, n]; those of one pixel add up to 256.
    """

    first: int
    length: int
    index: NDArray[np.int64]
    weight: NDArray[np.uint16]

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, start: int, count: int, how: Plan) -> Taps:
        if how.filter == "none":
            index = np.arange(count)[None]
            return cls(start, count, index, np.full((1, count), _WEIGHT, np.uint16))
        fine = round(how.factor * 2**_FINE_BITS)
        positions = np.arange(start, start + count + 1)
        edges = (positions * fine + (1 << (_FINE_BITS - _EDGE_BITS - 1))) >> (_FINE_BITS - _EDGE_BITS)
        low, high = edges[:-1], edges[1:]
        lowest = low >> _EDGE_BITS
        taps = int(((high - 1 >> _EDGE_BITS) - lowest).max()) + 1
        bounds = (lowest + np.arange(taps + 1)[:, None]) << _EDGE_BITS
        covered = np.clip(bounds - low, 0, high - low)
        shares = (covered * _WEIGHT * 2 + (high - low)) // (2 * (high - low))
        first = int(lowest[0])
        last = int(high[-1] - 1 >> _EDGE_BITS)
        index = np.minimum(lowest + np.arange(taps)[:, None], last) - first
        return cls(first, last + 1 - first, index, np.diff(shares, axis=0).astype(np.uint16))

    def touching(self, start: int, length: int) -> tuple[int, int]:
        """The pixels of the result, from and to, that need any of these pixels of the level."""
        _, needs = np.nonzero((self.index >= start) & (self.index < start + length))
        return (int(needs.min()), int(needs.max()) + 1) if len(needs) else (0, 0)


def compiled_averages(pixels: Pixels, across: Taps, down: Taps, made: Pixels) -> None:
    """What :func:`numpy_averages` does, where :data:`slides.kernels.COMPILED`."""
    height, width = made.shape[:2]
    kernels.averaged(
        *(pixels, pixels.shape[1], across.index, across.weight, width),
        *(down.index, down.weight, height, made),
    )


def numpy_averages(pixels: Pixels, across: Taps, down: Taps, made: Pixels) -> None:
    """Fill RGB, uint8 [h, w, 3], with means of BGR and a byte more, uint8 [H, W, 4].

    The weights of a mean add up to 2^16, and it is rounded once.
    """
    rows = pixels.reshape(len(pixels), -1)
    height, width = down.index.shape[1], across.index.shape[1]
    total = np.empty((height, rows.shape[1]), np.uint16)  # at most 255 · 256
    term = np.empty(rows.shape[1], np.uint16)
    for line, indices, weights in zip(total, down.index.T.tolist(), down.weight.T, strict=True):
        np.multiply(rows[indices[0]], weights[0], out=line)
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            if weight:
                line += np.multiply(rows[index], weight, out=term)
    quads = total.view(np.uint64)  # the four channels of a pixel travel as one number
    means = np.full((height, width, 4), 1 << 15, np.uint32)
    for index, weight in zip(across.index, across.weight, strict=True):
        found = quads.take(index, axis=1).view(np.uint16).reshape(means.shape).astype(np.uint32)
        found *= np.repeat(weight.astype(np.uint32), 4).reshape(width, 4)
        means += found
    means >>= 16
    made[:] = means[..., 2::-1]
