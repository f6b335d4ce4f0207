"""The turns of a patch that training and serving must agree on, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import cos, radians, sin
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
    if patch.shape != (SIDE, SIDE, 3) or patch.dtype != np.uint8:
        raise ValueError(f"a patch is uint8 [{SIDE}, {SIDE}, 3], got {patch.dtype} {list(patch.shape)}")
    if not 0 <= element < len(group):
        raise IndexError(f"{group.name} has no element {element}: expected 0 to {len(group) - 1}")
    representative = group.coset_of[element]
    exact = group.elements[group.product(element, group.inverse(representative))]
    turned = _interpolated(patch, group.angle_deg(representative)) if representative else patch
    if exact.reflected:
        turned = turned[:, ::-1]
    return np.rot90(turned, 4 * exact.step // group.n).copy()


def turns(patch: Patch, group: Group, elements: Iterable[int]) -> Patch:
    """Turn one patch by several group elements.

    Args:
        patch: uint8 [96, 96, 3].
        elements: k indices into ``group.elements``.

    Returns:
        uint8 [k, 96, 96, 3], in the order of ``elements``.

    Raises:
        ValueError, IndexError: as ``turn``.
    """
    return np.stack([turn(patch, group, g) for g in elements])


def _interpolated(patch: Patch, angle_deg: float) -> Patch:
    """All sums are of integers below 2^53, so float64 holds them; two channels share one number, a lane each."""
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
    """Flat source indices and fixed-point weights, both [16, 96·96]; a pixel's weights are integers, their sum is 2^14.

    Sines are rounded to 12 decimals and source coordinates to 2^-16 pixel, so that all later float64
    arithmetic is exact or rounds alike everywhere: every CPU builds this table, and it has the square's symmetry.
    """
    c, s = round(cos(radians(angle_deg)), 12), round(sin(radians(angle_deg)), 12)
    centre = (SIDE - 1) / 2
    y, x = np.indices((SIDE, SIDE)).reshape(2, -1) - centre
    source = np.rint(np.stack([x * s + y * c, x * c - y * s]) * _COORDINATE_STEPS) / _COORDINATE_STEPS + centre
    first = np.floor(source).astype(np.intp)
    rows, columns = np.clip(first[:, None] + np.arange(-1, 3)[:, None], 0, SIDE - 1)
    row_weights, column_weights = (_catmull_rom(t) for t in source - first)
    indices = (rows[:, None] * SIDE + columns[None]).reshape(16, -1)
    weights = np.rint((row_weights[:, None] * column_weights[None]).reshape(16, -1) * 2**_UNIT_BITS).astype(np.int32)
    return indices, _summing_to_unit(weights).astype(np.float64)


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
