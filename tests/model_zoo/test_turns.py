"""Turns: against a direct evaluation, against np.rot90, and as a group."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch, turn, turns


@pytest.fixture(scope="module")
def noise() -> Patch:
    return np.random.default_rng(7).integers(0, 256, (96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def smooth() -> Patch:
    y, x = np.indices((96, 96)) - 47.5
    waves = [np.sin(x / 9 + k) * np.cos(y / 11 - k) * np.exp(-np.hypot(x, y) / 60) for k in range(3)]
    return np.asarray(np.rint(127 + 100 * np.stack(waves, axis=-1)), np.uint8)


def catmull_rom(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    d = np.abs(distance)
    return np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0))


def directly_rotated(patch: Patch, angle_deg: float) -> NDArray[np.float64]:
    """Rotate counter-clockwise in float64, as a sum over all source rows and columns."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    padded = np.pad(patch, ((48, 48), (48, 48), (0, 0)), mode="edge").astype(np.float64)
    grid = np.arange(192.0) - 48
    rotated = np.empty(patch.shape)
    for i, j in product(range(96), repeat=2):
        up, right = 47.5 - i, j - 47.5
        source_up, source_right = cosine * up - sine * right, sine * up + cosine * right
        rows, columns = catmull_rom(grid - (47.5 - source_up)), catmull_rom(grid - (47.5 + source_right))
        near = np.ix_(np.flatnonzero(rows), np.flatnonzero(columns))
        rotated[i, j] = np.einsum("r,c,rck->k", rows[rows != 0], columns[columns != 0], padded[near])
    return rotated.clip(0, 255)


@pytest.mark.parametrize(("name", "element"), [("C12", 1), ("C12", 2), ("C8", 1), ("C5", 1), ("C99", 50)])
def test_within_one_grey_level_of_direct_evaluation(noise: Patch, name: str, element: int) -> None:
    group = Group.parse(name)
    expected = directly_rotated(noise, group.angle_deg(element))
    assert np.abs(turn(noise, group, element) - expected).max() <= 1


@pytest.mark.parametrize("name", ["C4", "C12", "D4", "D12"])
def test_quarter_turns_are_rot90(noise: Patch, name: str) -> None:
    group = Group.parse(name)
    for quarter in range(4):
        assert np.array_equal(turn(noise, group, quarter * group.n // 4), np.rot90(noise, quarter))


def test_a_reflection_mirrors_left_and_right_first(noise: Patch) -> None:
    group = Group.parse("D4")
    assert np.array_equal(turn(noise, group, 4), noise[:, ::-1])
    assert np.array_equal(turn(noise, group, 5), np.rot90(noise[:, ::-1]))


@pytest.mark.parametrize("name", ["C4", "C6", "C8", "C12", "D3", "D4", "D5", "D6", "D8", "D12"])
def test_turns_compose_exactly_where_one_of_them_is_exact(noise: Patch, name: str) -> None:
    group = Group.parse(name)
    for h in group.exact_elements:
        turned = turn(noise, group, h)
        for g in range(len(group)):
            assert np.array_equal(turn(turned, group, g), turn(noise, group, group.product(g, h)))
            assert np.array_equal(turn(turn(noise, group, g), group, h), turn(noise, group, group.product(h, g)))


@pytest.mark.parametrize("name", ["C12", "D6"])
def test_turns_compose_nearly_everywhere(smooth: Patch, name: str) -> None:
    group = Group.parse(name)
    y, x = np.indices((96, 96)) - 47.5
    inside = np.hypot(x, y) < 46
    for g, h in product(range(len(group)), repeat=2):
        twice = turn(turn(smooth, group, h), group, g).astype(int)
        once = turn(smooth, group, group.product(g, h)).astype(int)
        assert np.abs(twice - once)[inside].max() <= 3


def test_three_thirty_degree_turns_are_nearly_a_quarter_turn(smooth: Patch) -> None:
    group = Group.parse("C12")
    turned = smooth
    for _ in range(3):
        turned = turn(turned, group, 1)
    inside = np.s_[20:76, 20:76]
    right_way = np.abs(turned[inside].astype(int) - np.rot90(smooth)[inside])
    wrong_way = np.abs(turned[inside].astype(int) - np.rot90(smooth, -1)[inside])
    assert right_way.max() <= 3
    assert wrong_way.mean() > 10


def test_there_and_back_is_nearly_the_same(smooth: Patch) -> None:
    group = Group.parse("C12")
    inside = np.s_[16:80, 16:80]
    for g in range(12):
        back = turn(turn(smooth, group, g), group, group.inverse(g))
        assert np.abs(back[inside].astype(int) - smooth[inside]).max() <= 2


@pytest.mark.parametrize("grey", [0, 1, 127, 254, 255])
def test_a_constant_patch_stays_as_it_is(grey: int) -> None:
    patch = np.full((96, 96, 3), grey, np.uint8)
    group = Group.parse("D99")
    assert np.array_equal(turns(patch, group, range(0, 198, 11)), np.broadcast_to(patch, (18, 96, 96, 3)))


def test_turns_gives_each_turn_in_order() -> None:
    patch, group = synthetic_patch("tumour", 1), Group.parse("D6")
    orbit = turns(patch, group, [7, 0, 3])
    assert orbit.dtype == np.uint8
    for turned, g in zip(orbit, [7, 0, 3], strict=True):
        assert np.array_equal(turned, turn(patch, group, g))


def test_a_turn_is_a_copy(noise: Patch) -> None:
    before = noise.copy()
    turn(noise, Group.parse("C4"), 0)[:] = 0
    assert np.array_equal(noise, before)


@pytest.mark.parametrize("element", [-1, 12])
def test_an_element_outside_the_group_is_refused(noise: Patch, element: int) -> None:
    with pytest.raises(IndexError, match=f"C12 has no element {element}: expected 0 to 11"):
        turn(noise, Group.parse("C12"), element)


@pytest.mark.parametrize("patch", [np.zeros((95, 96, 3), np.uint8), np.zeros((96, 96, 3), np.float32)])
def test_what_is_no_patch_is_refused(patch: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="a patch is uint8"):
        turn(patch, Group.parse("C12"), 1)
