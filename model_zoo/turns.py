"""The turns of a patch that training and serving must agree on, to the last bit.

The loops over pixels are those of ``_kernels.c`` where it was built, and otherwise NumPy's; the bits are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import cos, radians, sin
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_zoo import kernels
from model_zoo.symmetry import Group

Patch = NDArray[np.uint8]
SIDE = 96
RULE: Literal["cubic-1"] = "cubic-1"

_UNIT_BITS = 14
_LANE = 2.0**26  # a channel's weighted sum lies within ±2^23
_COORDINATE_STEPS = 2**16


def turn(patch: Patch, group: Group, element: int) -> Patch:
    """Turn a whole patch by one group element: mirror left-right if reflected, then rotate counter-clockwise.

    An element is taken as ``h · r`` with ``r`` the representative of its coset: ``r`` interpolates
    (Catmull-Rom about the patch's true centre, edges replicated, rounded once), and ``h`` of the exact
    subgroup only permutes pixels.

    Args:
        patch: uint8 [96, 96, 3].
        element: index into ``group.elements``.

    Returns:
        A new uint8 [96, 96, 3] array.

    Raises:
        ValueError: if the patch has another shape or type.
        IndexError: if the group has no such element.
    """
    turned: Patch = turns(patch, group, (element,))[0]
    return turned


def turns(patch: Patch, group: Group, elements: Iterable[int]) -> Patch:
    """Turn one patch by several group elements.

    Args:
        patch: uint8 [96, 96, 3].
        elements: k indices into ``group.elements``.

    Returns:
        A new uint8 [k, 96, 96, 3] array, in the order of ``elements``.

    Raises:
        ValueError, IndexError: as ``turn``.
    """
    check_patch(patch)
    chosen = [_factors(group, element) for element in elements]
    turned = np.empty((len(chosen), SIDE, SIDE, 3), np.uint8)
    rotated = {0.0: np.ascontiguousarray(patch)}
    for result, (angle_deg, reflected, quarters) in zip(turned, chosen, strict=True):
        if angle_deg not in rotated:
            rotated[angle_deg] = interpolated(patch, angle_deg)
        _permute(rotated[angle_deg], reflected, quarters, result)
    return turned


def check_patch(patch: Patch) -> None:
    """Raise ValueError unless this is a patch, uint8 [96, 96, 3]."""
    if patch.shape != (SIDE, SIDE, 3) or patch.dtype != np.uint8:
        raise ValueError(f"a patch is uint8 [{SIDE}, {SIDE}, 3], got {patch.dtype} {list(patch.shape)}")


@cache
def _factors(group: Group, element: int) -> tuple[float, bool, int]:
    """The angle by which the coset's representative rotates, and the reflection and quarter turns that follow.

    Raises:
        IndexError: if the group has no such element.
    """
    if not 0 <= element < len(group):
        raise IndexError(f"{group.name} has no element {element}: expected 0 to {len(group) - 1}")
    representative = group.coset_of[element]
    exact = group.elements[group.product(element, group.inverse(representative))]
    return group.angle_deg(representative), exact.reflected, 4 * exact.step // group.n


def _permute(patch: Patch, reflected: bool, quarters: int, out: Patch) -> None:
    if kernels.COMPILED and (reflected or quarters):
        kernels.permuted(patch, *_strides(reflected, quarters), out)
    else:
        out[...] = _permuted(patch, reflected, quarters)


def _permuted(image: NDArray[Any], reflected: bool, quarters: int) -> NDArray[Any]:
    return np.rot90(image[:, ::-1] if reflected else image, quarters)


@cache
def _strides(reflected: bool, quarters: int) -> tuple[int, int, int]:
    """Where the first pixel comes from, and the steps to those of the pixels below it and to its right."""
    places = _permuted(np.arange(SIDE * SIDE).reshape(SIDE, SIDE), reflected, quarters)
    first, right, below = int(places[0, 0]), int(places[0, 1]), int(places[1, 0])
    return first, below - first, right - first


def interpolated(patch: Patch, angle_deg: float) -> Patch:
    """A patch, uint8 [96, 96, 3], rotated counter-clockwise about its centre."""
    if not kernels.COMPILED:
        return numpy_interpolated(patch, angle_deg)
    grid, result = _grid(angle_deg), np.empty((SIDE, SIDE, 3), np.uint8)
    kernels.interpolated(np.ascontiguousarray(patch), grid.places, grid.weights, result)
    return result


def numpy_interpolated(patch: Patch, angle_deg: float) -> Patch:
    """The same by NumPy.

    All sums are of integers below 2^53, so float64 holds them; two channels share one number, a lane each.
    """
    indices, weights = _taps(angle_deg)
    red, green, blue = patch.reshape(-1, 3).T
    both, last = (
        np.einsum("tp,tp->p", values.take(indices, mode="clip"), weights)
        for values in (red + green * _LANE, blue.astype(np.float64))
    )
    upper = np.rint(both / _LANE)
    total = np.stack([both - upper * _LANE, upper, last], axis=-1).astype(np.int32)
    rounded = (total + (1 << (_UNIT_BITS - 1))) >> _UNIT_BITS
    return rounded.clip(0, 255).astype(np.uint8).reshape(SIDE, SIDE, 3)


@cache
def _taps(angle_deg: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Flat source indices and weights, both [16, 96·96]."""
    grid = _grid(angle_deg)
    corners = grid.places.T.astype(np.intp)
    rows, columns = np.clip(corners[:, None] + np.arange(4)[:, None], 0, SIDE - 1)
    indices = (rows[:, None] * SIDE + columns[None]).reshape(16, -1)
    return indices, np.ascontiguousarray(grid.weights.T, np.float64)


class _Grid(NamedTuple):
    """What each pixel of a rotated patch is interpolated from.

    Attributes:
        places: row and column of the first of 4×4 source pixels, which may lie outside the patch, int16 [96·96, 2].
        weights: of these, row by row, in units of 2^-14, int16 [96·96, 16]; their sum is 2^14.
    """

    places: NDArray[np.int16]
    weights: NDArray[np.int16]


@cache
def _grid(angle_deg: float) -> _Grid:
    """The grid of a rotation.

    Sines are rounded to 12 decimals and source coordinates to 2^-16 pixel, so that all later float64
    arithmetic is exact or rounds alike everywhere: every CPU builds this table, and it has the square's symmetry.
    """
    c, s = round(cos(radians(angle_deg)), 12), round(sin(radians(angle_deg)), 12)
    centre = (SIDE - 1) / 2
    y, x = np.indices((SIDE, SIDE)).reshape(2, -1) - centre
    source = np.rint(np.stack([x * s + y * c, x * c - y * s]) * _COORDINATE_STEPS) / _COORDINATE_STEPS + centre
    first = np.floor(source)
    row_weights, column_weights = (_catmull_rom(t) for t in source - first)
    weights = np.rint((row_weights[:, None] * column_weights[None]).reshape(16, -1) * 2**_UNIT_BITS).astype(np.int32)
    places = np.ascontiguousarray(first.T - 1).astype(np.int16)
    return _Grid(places, np.ascontiguousarray(_summing_to_unit(weights).T, np.int16))


def _catmull_rom(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the four taps at distances 1 + t, t, 1 - t and 2 - t (Keys 1981, a = -0.5), [4, ...]."""

    def near(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return (1.5 * d - 2.5) * d * d + 1

    def far(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((-0.5 * d + 2.5) * d - 4) * d + 2

    return np.stack([far(1 + t), near(t), near(1 - t), far(2 - t)])


def _summing_to_unit(weights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give the rounding residue to the largest tap, in equal shares where symmetry makes several largest."""
    residue = (1 << _UNIT_BITS) - weights.sum(axis=0)
    largest = weights == weights.max(axis=0)
    share, rest = np.divmod(residue, largest.sum(axis=0))
    weights = weights + largest * share.astype(np.int32)
    weights[largest.argmax(axis=0), np.arange(weights.shape[1])] += rest.astype(np.int32)
    return weights
