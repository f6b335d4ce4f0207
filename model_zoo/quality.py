"""Is a patch fit to be assessed? Tissue, sharpness and stain within the disc that the network sees.

All sums are of integers (in float64 below 2^53), so that the order of pixels cannot change them: the
measures are the same to the last bit for every quarter turn and reflection of a patch, and whether NumPy
or the compiled loops of ``_kernels.c`` take the sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from model_zoo import kernels
from model_zoo.manifest import QualityReference, Triple
from model_zoo.turns import SIDE, Patch, check_patch

Sums = tuple[int, tuple[int, int, int], int, int]

TISSUE_OPTICAL_DENSITY = 0.08

_UNIT = 2**16
OPTICAL_DENSITY = np.rint(-np.log10((np.arange(256) + 1) / 256) * _UNIT).astype(np.int32)
TISSUE = round(3 * TISSUE_OPTICAL_DENSITY * _UNIT)

_offsets = np.arange(SIDE) - (SIDE - 1) / 2
DISC = _offsets[:, None] ** 2 + _offsets**2 <= (SIDE / 2) ** 2
_DISC, _INNER = DISC.reshape(-1), DISC[1:-1, 1:-1].astype(np.int16)
_DISC_SIZE, _INNER_SIZE = int(_DISC.sum()), int(_INNER.sum())


@dataclass(frozen=True)
class Quality:
    """What was measured in one patch.

    Attributes:
        tissue_fraction: share of the disc that is tissue, 0 to 1.
        sharpness: variance of the Laplacian of luma, in grey levels squared.
        stain_distance: Mahalanobis distance of the tissue's mean optical density from the training
            patches', in standard deviations; None where there is no tissue.
        assessable: whether all three lie within the reference's bounds.
    """

    tissue_fraction: float
    sharpness: float
    stain_distance: float | None
    assessable: bool


def measure(patch: Patch, reference: QualityReference) -> Quality:
    """Measure a patch, uint8 [96, 96, 3], against what training patches look like."""
    return judged(*tissue_statistics(patch), reference)


def judged(tissue_fraction: float, sharpness: float, density: Triple | None, reference: QualityReference) -> Quality:
    """The quality of a patch with these statistics, against what training patches look like."""
    distance = None if density is None else stain_distance(density, reference.stain_mean, reference.stain_precision)
    assessable = (
        tissue_fraction >= reference.min_tissue_fraction
        and sharpness >= reference.min_sharpness
        and distance is not None
        and distance <= reference.max_stain_distance
    )
    return Quality(tissue_fraction, sharpness, distance, assessable)


def tissue_statistics(patch: Patch) -> tuple[float, float, Triple | None]:
    """Tissue fraction, sharpness and the tissue's mean optical density per channel (None without tissue).

    Tissue is where the optical density -log10((x + 1) / 256), averaged over channels, exceeds 0.08.

    Args:
        patch: uint8 [96, 96, 3].

    Raises:
        ValueError: if the patch has another shape or type.
    """
    check_patch(patch)
    return statistics_of(*(compiled_sums(patch) if kernels.COMPILED else numpy_sums(patch)))


def compiled_sums(patch: Patch) -> Sums:
    """The sums for :func:`statistics_of`, where :data:`model_zoo.kernels.COMPILED`."""
    found = kernels.quality_sums(np.ascontiguousarray(patch), OPTICAL_DENSITY, TISSUE)
    pixels, red, green, blue, total, square = found
    return pixels, (red, green, blue), total, square


def numpy_sums(patch: Patch) -> Sums:
    """The sums for :func:`statistics_of`, by NumPy."""
    planes = np.ascontiguousarray(patch.reshape(-1, 3).T)
    density = OPTICAL_DENSITY.take(planes, mode="clip")
    tissue = (density[0] + density[1] + density[2] > TISSUE) & _DISC
    pixels = int(np.count_nonzero(tissue))
    density *= tissue
    red, green, blue = density.sum(axis=1, dtype=np.int32).tolist()  # below 2^31: 9216 · 157 836
    return pixels, (red, green, blue), *_laplacian_sums(planes.reshape(3, SIDE, SIDE))


def statistics_of(
    pixels: int, density: tuple[int, int, int], total: int, square: int
) -> tuple[float, float, Triple | None]:
    """What :func:`tissue_statistics` gives, from the sums over the disc.

    Args:
        pixels: of tissue.
        density: sums of ``OPTICAL_DENSITY`` over them, per channel.
        total, square: sums of the Laplacian of luma and of its square, a pixel within the patch's edge.
    """
    red, green, blue = density
    unit = pixels * _UNIT
    mean = (red / unit, green / unit, blue / unit) if pixels else None
    return pixels / _DISC_SIZE, (_INNER_SIZE * square - total**2) / _INNER_SIZE**2, mean


def many_statistics(
    sums: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What :func:`statistics_of` gives, for many patches.

    Args:
        sums: int64 [..., 6], over each disc: pixels of tissue, their densities per channel, the Laplacian and its
            square.

    Returns:
        Tissue fraction and sharpness, float64 [...], and density, float64 [..., 3], NaN without tissue.
    """
    pixels, total, square = sums[..., 0], sums[..., 4], sums[..., 5]
    unit = np.where(pixels > 0, pixels * float(_UNIT), np.nan)
    density = sums[..., 1:4] / unit[..., None]
    # All whole numbers lie below 2^53, so each quotient is rounded once, as those of Python are.
    return pixels / _DISC_SIZE, (_INNER_SIZE * square - total**2) / _INNER_SIZE**2, density


def laplacian(planes: Patch) -> NDArray[np.int16]:
    """Laplacian of luma, int16 [h - 2, w - 2], of planes, uint8 [3, h, w]; within ±1020."""
    red, green, blue = planes
    luma = red * np.uint16(77)
    luma += green * np.uint16(150)
    luma += blue * np.uint16(29)  # below 2^16
    luma >>= 8
    grey = luma.view(np.int16)
    found: NDArray[np.int16] = grey[:-2, 1:-1] + grey[2:, 1:-1]
    found += grey[1:-1, :-2]
    found += grey[1:-1, 2:]
    found -= 4 * grey[1:-1, 1:-1]
    return found


def _laplacian_sums(planes: Patch) -> tuple[int, int]:
    found = laplacian(planes)
    found *= _INNER
    values = found.reshape(-1).astype(np.float64)
    return int(values.sum()), int(values.dot(values))


def stain_distance(density: Triple, mean: Triple, precision: tuple[Triple, Triple, Triple]) -> float:
    """Mahalanobis distance of a mean optical density from ``mean``, in standard deviations.

    Args:
        density: per channel, as ``tissue_statistics`` gives it.
        mean: of the training patches' densities.
        precision: inverse of their covariance.
    """
    difference = (density[0] - mean[0], density[1] - mean[1], density[2] - mean[2])
    first, second, third = precision
    projected = (_dot(first, difference), _dot(second, difference), _dot(third, difference))
    return sqrt(max(0.0, _dot(projected, difference)))


def stain_distances(
    density: NDArray[np.float64], mean: Triple, precision: tuple[Triple, Triple, Triple]
) -> NDArray[np.float64]:
    """:func:`stain_distance` of many densities, float64 [..., 3], to the last bit; NaN where they are NaN."""
    difference = [density[..., channel] - mean[channel] for channel in range(3)]
    projected = [one * difference[0] + two * difference[1] + three * difference[2] for one, two, three in precision]
    square = projected[0] * difference[0] + projected[1] * difference[1] + projected[2] * difference[2]
    return np.sqrt(np.maximum(0.0, square))


def _dot(one: Triple, other: Triple) -> float:
    """Written out: ``sum`` rounds otherwise since Python 3.12."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
