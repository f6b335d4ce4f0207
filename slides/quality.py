"""The quality of all cells of a block at once: the very figures that ``model_zoo.quality`` measures patch by patch.

The disc that the network sees is a run of pixels in each row, so its sums are differences of each row's prefix sums.
All sums are of integers, two to a number, so their order does not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_zoo.manifest import QualityReference, Triple
from model_zoo.quality import DISC, OPTICAL_DENSITY, TISSUE, Quality, judged, laplacian, statistics_of
from model_zoo.turns import SIDE
from slides.reader import Pixels

# Of a disc's 7232 pixels: tissue pixels below 2^13, densities below 2^31, the Laplacian's sum within ±2^24.
_COUNT_BITS, _DENSITY_BITS, _LAPLACIAN_BITS = 13, 31, 25
_LOW, _HIGH = DISC.argmax(axis=1), SIDE - DISC[:, ::-1].argmax(axis=1)
_INNER = DISC[1:-1, 1:-1]
_INNER_LOW, _INNER_HIGH = _INNER.argmax(axis=1), SIDE - 2 - _INNER[:, ::-1].argmax(axis=1)


def qualities(
    block: Pixels, rows: int, columns: int, stride: int, reference: QualityReference
) -> list[tuple[Quality, Triple | None]]:
    """The quality of each patch of a block, and the mean optical density of its tissue, in row-major order.

    Args:
        block: uint8 [96 + stride · (rows - 1), 96 + stride · (columns - 1), 3].
        rows, columns: of patches.
        stride: pixels between neighbouring patches.
        reference: what training patches look like.
    """
    planes = np.ascontiguousarray(block.transpose(2, 0, 1))
    count_red, green_blue = _tissue_sums(planes, rows, columns, stride)
    laplacians = _laplacian_sums(planes, rows, columns, stride)
    found = []
    for first, second, third in zip(count_red, green_blue, laplacians, strict=True):
        pixels, red = _parts(first, _COUNT_BITS)
        green, blue = _parts(second, _DENSITY_BITS)
        total, square = _signed_parts(third)
        fraction, sharpness, density = statistics_of(pixels, (red, green, blue), total, square)
        found.append((judged(fraction, sharpness, density, reference), density))
    return found


def _tissue_sums(planes: Pixels, rows: int, columns: int, stride: int) -> tuple[list[int], list[int]]:
    red, green, blue = (OPTICAL_DENSITY.take(plane, mode="clip") for plane in planes)
    tissue = (red + green + blue > TISSUE).astype(np.int64)
    count_red = (red.astype(np.int64) << _COUNT_BITS) + 1
    green_blue = (blue.astype(np.int64) << _DENSITY_BITS) + green
    count_red *= tissue
    green_blue *= tissue
    first, second = (_sums(values, _LOW, _HIGH, rows, columns, stride) for values in (count_red, green_blue))
    return first.tolist(), second.tolist()


def _laplacian_sums(planes: Pixels, rows: int, columns: int, stride: int) -> list[int]:
    values = laplacian(planes).astype(np.int64)
    packed = (values * values << _LAPLACIAN_BITS) + values
    sums: list[int] = _sums(packed, _INNER_LOW, _INNER_HIGH, rows, columns, stride).tolist()
    return sums


def _sums(
    values: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    rows: int,
    columns: int,
    stride: int,
) -> NDArray[np.int64]:
    """Sums over the disc of each patch, int64 [rows · columns]: row r of the disc holds ``low[r]`` to ``high[r]``."""
    prefix = np.zeros((values.shape[0], values.shape[1] + 1), np.int64)
    np.cumsum(values, axis=1, out=prefix[:, 1:])
    total = np.zeros((rows, columns), np.int64)
    height, width = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    for row, (start, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        line = prefix[row : row + height : stride]
        total += line[:, end : end + width : stride]
        total -= line[:, start : start + width : stride]
    return total.reshape(-1)


def _parts(value: int, bits: int) -> tuple[int, int]:
    return value & ((1 << bits) - 1), value >> bits


def _signed_parts(value: int) -> tuple[int, int]:
    half = 1 << (_LAPLACIAN_BITS - 1)
    low = ((value + half) & ((1 << _LAPLACIAN_BITS) - 1)) - half
    return low, (value - low) >> _LAPLACIAN_BITS
