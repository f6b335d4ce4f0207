"""The quality of all cells of a block at once: the very figures that ``model_zoo.quality`` measures patch by patch.

The disc that the network sees is a run of pixels in each row, so its sums are differences of each row's prefix sums.
All sums are of integers, two to a number, so their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.manifest import QualityReference, Triple
from model_zoo.quality import DISC, OPTICAL_DENSITY, TISSUE, Quality, judged, laplacian, statistics_of
from model_zoo.turns import SIDE
from slides.grid import STRIDE
from slides.reader import Pixels

# Of a disc's 7232 pixels: tissue pixels below 2^13, densities below 2^31, the Laplacian's sum within ±2^24.
_COUNT_BITS, _DENSITY_BITS, _LAPLACIAN_BITS = 13, 31, 25
_THIRDS = SIDE // STRIDE
_LOW = DISC.argmax(axis=1)  # the disc is symmetric: a row ends as far from the patch's edge as it begins
# A pixel within the patch's edge alone; the first and last row have none, and begin where they end.
_INNER_LOW = np.array([SIDE // 2, *(DISC[1:-1, 1:-1].argmax(axis=1) + 1), SIDE // 2])


def qualities(
    block: Pixels, rows: int, columns: int, reference: QualityReference
) -> list[tuple[Quality, Triple | None]]:
    """The quality of each patch of a block, and the mean optical density of its tissue, in row-major order.

    Args:
        block: uint8 [96 + 32 · (rows - 1), 96 + 32 · (columns - 1), 3].
        rows, columns: of patches.
        reference: what training patches look like.
    """
    sums = np.zeros((3, rows + 2 * _THIRDS, columns), np.int64)  # with rows beyond both ends that nobody asks for
    discs = [(_Third.of(_LOW, t, columns), _Third.of(_INNER_LOW, t, columns)) for t in range(_THIRDS)]
    prefix = np.zeros((3, STRIDE, block.shape[1] + 1), np.int64)
    for strip in range(rows + _THIRDS - 1):
        _fill(prefix, block, strip * STRIDE)
        tissue, density, sharpness = prefix.reshape(3, -1)
        for third, (disc, inner) in enumerate(discs):
            line = sums[:, _THIRDS + strip - third]
            line[0] += disc.sum_of(tissue)
            line[1] += disc.sum_of(density)
            line[2] += inner.sum_of(sharpness)
    wanted = sums[:, _THIRDS : _THIRDS + rows].reshape(3, -1).tolist()
    return [_judged(first, second, third, reference) for first, second, third in zip(*wanted, strict=True)]


@dataclass(frozen=True)
class _Third:
    """Where a third of the disc begins and ends in each row of a strip of prefix sums, for each patch of a row."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, low: NDArray[np.int64], third: int, columns: int) -> _Third:
        width = SIDE + STRIDE * (columns - 1) + 1
        start = low[STRIDE * third : STRIDE * (third + 1), None]
        place = np.arange(STRIDE)[:, None] * width + STRIDE * np.arange(columns)
        return cls(place + start, place + SIDE - start)

    def sum_of(self, prefix: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = (prefix.take(self.ends) - prefix.take(self.starts)).sum(axis=0)
        return found


def _fill(prefix: NDArray[np.int64], block: Pixels, top: int) -> None:
    """Prefix sums of a strip's rows: count and red, green and blue, the Laplacian and its square."""
    first, last = max(top - 1, 0), min(top + STRIDE + 1, len(block))
    planes = np.ascontiguousarray(block[first:last].transpose(2, 0, 1))
    red, green, blue = OPTICAL_DENSITY.take(planes[:, top - first : top - first + STRIDE], mode="clip")
    tissue = red + green
    tissue += blue
    kept = tissue > TISSUE
    packed = red.astype(np.int64)
    packed <<= _COUNT_BITS
    packed += 1
    packed *= kept
    np.cumsum(packed, axis=1, out=prefix[0, :, 1:])
    packed = blue.astype(np.int64)
    packed <<= _DENSITY_BITS
    packed += green
    packed *= kept
    np.cumsum(packed, axis=1, out=prefix[1, :, 1:])
    values = laplacian(planes).astype(np.int64)
    packed = values * values
    packed <<= _LAPLACIAN_BITS
    packed += values
    at = first + 1 - top  # the block's first and last row have none, and no disc needs it
    np.cumsum(packed, axis=1, out=prefix[2, at : at + len(packed), 2:-1])


def _judged(
    count_red: int, green_blue: int, squares: int, reference: QualityReference
) -> tuple[Quality, Triple | None]:
    pixels, red = _parts(count_red, _COUNT_BITS)
    green, blue = _parts(green_blue, _DENSITY_BITS)
    total, square = _signed_parts(squares)
    fraction, sharpness, density = statistics_of(pixels, (red, green, blue), total, square)
    return judged(fraction, sharpness, density, reference), density


def _parts(value: int, bits: int) -> tuple[int, int]:
    return value & ((1 << bits) - 1), value >> bits


def _signed_parts(value: int) -> tuple[int, int]:
    half = 1 << (_LAPLACIAN_BITS - 1)
    low = ((value + half) & ((1 << _LAPLACIAN_BITS) - 1)) - half
    return low, (value - low) >> _LAPLACIAN_BITS
