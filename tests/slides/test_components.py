"""Components and outlines: exact on cells' borders, valid polygons whatever the drawing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from slides.components import Mask, Ring, components, enclosed, outlines

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def drawn(*lines: str) -> Mask:
    return np.array([[character == "#" for character in line] for line in lines])


def area(ring: Ring) -> float:
    return sum(x0 * y1 - x1 * y0 for (y0, x0), (y1, x1) in pairwise(ring)) / 2


def crossings(ring: Ring, row: int, column: int) -> int:
    """How many upright sides of a ring lie to the left of a cell's centre."""
    return sum(x0 == x1 and x0 <= column and min(y0, y1) <= row < max(y0, y1) for (y0, x0), (y1, x1) in pairwise(ring))


@given(masks)
@pytest.mark.parametrize(("neighbours", "structure"), [(4, None), (8, np.ones((3, 3)))])
def test_components_are_scipys(neighbours: int, structure: np.ndarray | None, mask: Mask) -> None:
    expected, count = ndimage.label(mask, structure)
    labels, found = components(mask, 8 if neighbours == 8 else 4)
    assert found == count
    np.testing.assert_array_equal(labels, expected)


@given(masks)
def test_enclosed_cells_are_scipys_holes(mask: Mask) -> None:
    np.testing.assert_array_equal(enclosed(mask), ndimage.binary_fill_holes(mask) & ~mask)


@given(masks)
def test_polygons_have_the_cells_area_and_hold_just_their_centres(mask: Mask) -> None:
    rings = [ring for polygon in outlines(mask) for ring in polygon]
    assert sum(map(area, rings)) == mask.sum()
    inside = [
        [sum(crossings(ring, r, c) for ring in rings) % 2 for c in range(mask.shape[1])] for r in range(len(mask))
    ]
    np.testing.assert_array_equal(np.array(inside, dtype=bool), mask)


@given(masks)
def test_rings_are_simple_closed_and_oriented(mask: Mask) -> None:
    for outer, *holes in outlines(mask):
        assert area(outer) > 0
        assert all(area(hole) < 0 for hole in holes)
        for ring in (outer, *holes):
            assert ring[0] == ring[-1]
            assert len(set(ring)) == len(ring) - 1, "a vertex is visited twice"
            steps = [(y1 - y0 != 0, x1 - x0 != 0) for (y0, x0), (y1, x1) in pairwise(ring)]
            assert all(step.count(True) == 1 for step in steps), "a side is not along the grid"
            assert all(before != after for before, after in pairwise([*steps, steps[0]])), "a vertex without a turn"


def test_a_cell_is_a_square() -> None:
    assert outlines(drawn("..", ".#")) == [[[(1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]]]


def test_a_ring_has_a_hole() -> None:
    ((outer, hole),) = outlines(drawn("###", "#.#", "###"))
    assert outer == [(0, 0), (0, 3), (3, 3), (3, 0), (0, 0)]
    assert hole == [(1, 1), (2, 1), (2, 2), (1, 2), (1, 1)]


def test_cells_that_share_a_corner_are_two_polygons_of_one_component() -> None:
    mask = drawn("#.", ".#")
    assert components(mask, 8)[1] == 1
    assert [len(polygon) for polygon in outlines(mask)] == [1, 1]


def test_a_ring_that_closes_at_a_corner_has_a_hole_that_touches_its_outline() -> None:
    ((outer, hole),) = outlines(drawn("####", "#..#", "#.#.", "###."))
    assert set(outer) & set(hole) == {(2, 3)}
    assert (area(outer), area(hole)) == (14, -3)


def test_nothing_has_no_outline() -> None:
    assert outlines(drawn("...")) == []
    assert components(drawn("..."), 8)[1] == 0


def test_a_checkerboard_of_a_slide_is_one_component() -> None:
    mask = np.indices((200, 200)).sum(0) % 2 == 0
    assert components(mask, 8)[1] == 1
    assert len(outlines(mask)) == mask.sum()
