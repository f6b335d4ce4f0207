"""The quality of all cells of a block at once: the very figures that ``model_zoo.quality`` measures patch by patch.

The disc that the network sees is a run of pixels in each row, so its sums are differences of each row's prefix sums.
All sums are of integers, so their order does not matter, and the compiled loops of ``_kernels.c`` give the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.manifest import QualityReference
from model_zoo.quality import DISC, OPTICAL_DENSITY, TISSUE, laplacian, many_statistics, stain_distances
from model_zoo.turns import SIDE
from slides import kernels
from slides.grid import STRIDE
from slides.reader import Pixels

# Two sums to a number. Of a disc's 7232 pixels: tissue pixels below 2^13, densities below 2^31, the Laplacian's sum
# within ±2^24.
_COUNT_BITS, _DENSITY_BITS, _LAPLACIAN_BITS = 13, 31, 25
_HALF = 1 << (_LAPLACIAN_BITS - 1)
_THIRDS = SIDE // STRIDE
_LOW = DISC.argmax(axis=1)  # the disc is symmetric: a row ends as far from the patch's edge as it begins
# A pixel within the patch's edge alone; the first and last row have none, and begin where they end.
_INNER_LOW = np.array([SIDE // 2, *(DISC[1:-1, 1:-1].argmax(axis=1) + 1), SIDE // 2])


Sums = NDArray[np.int64]
_SUMS = 6  # tissue pixels, red, green and blue of them, the Laplacian and its square


@dataclass(frozen=True, eq=False)
class Qualities:
    """What was measured in the patches of a block, as in :class:`model_zoo.quality.Quality`; each [rows, columns].

    Attributes:
        tissue_fraction, sharpness: float64.
        density: float64 [rows, columns, 3], mean optical density of the tissue per channel; NaN without tissue.
        stain_distance: float64; NaN without tissue.
    """

    tissue_fraction: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    density: NDArray[np.float64]
    stain_distance: NDArray[np.float64]


def qualities(block: Pixels, rows: int, columns: int, reference: QualityReference) -> Qualities:
    """The quality of each patch of a block.

    Args:
        block: uint8 [96 + 32 · (rows - 1), 96 + 32 · (columns - 1), 3].
        rows, columns: of patches.
        reference: what training patches look like.
    """
    sums = (compiled_sums if kernels.COMPILED else numpy_sums)(block, rows, columns)
    fraction, sharpness, density = many_statistics(sums)
    distance = stain_distances(density, reference.stain_mean, reference.stain_precision)
    return Qualities(fraction, sharpness, density, distance)


def compiled_sums(block: Pixels, rows: int, columns: int) -> Sums:
    """What :func:`numpy_sums` gives, where :data:`slides.kernels.COMPILED`."""
    sums = np.empty((rows, columns, _SUMS), np.int64)
    kernels.block_sums(np.ascontiguousarray(block), rows, columns, OPTICAL_DENSITY, TISSUE, sums)
    return sums


def numpy_sums(block: Pixels, rows: int, columns: int) -> Sums:
    """Sums over each patch's disc, int64 [rows, columns, 6]: see :func:`model_zoo.quality.many_statistics`."""
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
    count_red, green_blue, squares = sums[:, _THIRDS : _THIRDS + rows]
    total = ((squares + _HALF) & (2 * _HALF - 1)) - _HALF
    parts = (*_parts(count_red, _COUNT_BITS), *_parts(green_blue, _DENSITY_BITS))
    return np.stack([*parts, total, (squares - total) >> _LAPLACIAN_BITS], axis=-1)


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


def _parts(values: Sums, bits: int) -> tuple[Sums, Sums]:
    return values & ((1 << bits) - 1), values >> bits
