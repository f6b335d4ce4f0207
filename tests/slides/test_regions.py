"""Regions: hysteresis at a prevalence, least area, what was not judged, and outlines in level-0 pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_zoo.decision import at_prevalence
from slides.cells import State
from slides.regions import Region, Rule, cell_areas_mm2, find_regions
from tests.slides.synthetic import SIDE, cells_of, run_of

EVEN = Rule(prevalence=0.5, low=0.4, high=0.8, min_area_mm2=0)  # the synthetic model is calibrated at 0.5


def regions_of(*drawing: str, rule: Rule = EVEN) -> list[Region]:
    cells = cells_of(drawing)
    return find_regions(run_of(cells), cells, rule)


def places(region: Region) -> set[tuple[int, int]]:
    return set(zip(region.rows.tolist(), region.columns.tolist(), strict=True))


def test_weak_cells_belong_to_a_region_only_beside_a_strong_one() -> None:
    (region,) = regions_of("5.945", ".....", "555..")
    assert places(region) == {(0, 2), (0, 3), (0, 4)}
    assert region.largest == 0.9
    assert region.mean == pytest.approx(0.6)


def test_cells_that_share_a_corner_are_one_region_of_two_polygons() -> None:
    (region,) = regions_of("9..", ".9.")
    assert len(region.polygons) == 2
    assert region.box == (0, 0, 2 * SIDE, 2 * SIDE)


def test_regions_are_ordered_by_probability_then_from_the_top_left() -> None:
    regions = regions_of("8.9.#", ".....", "9....")
    assert [sorted(places(region)) for region in regions] == [[(0, 4)], [(0, 2)], [(2, 0)], [(0, 0)]]
    assert [region.number for region in regions] == [1, 2, 3, 4]


@pytest.mark.parametrize(("prevalence", "found"), [(0.5, 1), (0.05, 0), (0.3, 1), (0.2, 0)])
def test_bounds_hold_at_the_stated_prevalence(prevalence: float, found: int) -> None:
    rule = Rule(prevalence=prevalence, low=0.5, high=0.7, min_area_mm2=0)
    regions = regions_of("9", rule=rule)
    assert len(regions) == found == (at_prevalence(0.9, prevalence, 0.5) >= 0.7)
    for region in regions:
        assert region.largest_moved == at_prevalence(0.9, prevalence, 0.5)


def test_a_region_has_its_least_area() -> None:
    cell_mm2 = (SIDE * 0.485 / 1000) ** 2
    drawing = ("99..9", ".....", "999..")
    for cells, expected in ((1, [3, 2, 1]), (2, [3, 2]), (3, [3]), (4, [])):
        regions = regions_of(*drawing, rule=EVEN.model_copy(update={"min_area_mm2": cell_mm2 * (cells - 0.5)}))
        assert sorted((len(region.rows) for region in regions), reverse=True) == expected
        assert sum(region.area_mm2 for region in regions) == pytest.approx(cell_mm2 * sum(expected))


def test_what_was_not_judged_is_counted_inside_and_beside() -> None:
    (region,) = regions_of("x....", ".999x", ".9x9.", ".9o9.", ".9999", "....o", "x....")
    assert (region.not_judged_inside, region.not_judged_beside) == (2, 3)
    assert [len(polygon) for polygon in region.polygons] == [2]


def test_glass_and_refused_cells_are_in_no_region_whatever_their_probability() -> None:
    cells = cells_of(["99"])
    cells.put((0, 0), State.NOT_ASSESSABLE)
    (region,) = find_regions(run_of(cells), cells, EVEN)
    assert places(region) == {(0, 1)}
    assert region.not_judged_beside == 1


def test_consistency_is_of_the_cells_in_which_it_was_measured() -> None:
    cells = cells_of(["999."])
    cells.turns[0, :2] = 0.1, 0.3
    (region,) = find_regions(run_of(cells), cells, EVEN)
    assert (region.turns.measured, region.turns.largest, region.turns.beyond) == (2, 0.3, 1)
    assert (region.shifts.measured, region.shifts.largest, region.shifts.beyond) == (0, None, None)


def test_outlines_follow_uneven_cells() -> None:
    cells = cells_of([".9", ".9"])
    cells.x[:], cells.y[:] = (-3, 59, 122), (0, 62, 125)
    (region,) = find_regions(run_of(cells), cells, EVEN)
    assert region.polygons == [[[(59, 0), (122, 0), (122, 125), (59, 125), (59, 0)]]]
    assert region.area_mm2 == pytest.approx(63 * 125 * 0.485**2 / 1e6)


@pytest.mark.parametrize("drawing", [("....", "...."), ("xo",), (".",), ("1",)])
def test_maps_without_regions(drawing: tuple[str, ...]) -> None:
    assert regions_of(*drawing) == []


def test_one_cell_is_a_region() -> None:
    (region,) = regions_of("9")
    assert region.polygons == [[[(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE), (0, 0)]]]


@pytest.mark.parametrize("rule", [{"low": 0.6}, {"prevalence": 0}, {"prevalence": 1}, {"min_area_mm2": -1}])
def test_impossible_rules_are_refused(rule: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(rule)


@given(st.lists(st.text("..x1569#", min_size=6, max_size=6), min_size=1, max_size=6))
def test_regions_are_disjoint_and_their_polygons_have_their_area(drawing: list[str]) -> None:
    cells = cells_of(drawing)
    run = run_of(cells)
    regions = find_regions(run, cells, EVEN)
    every = [place for region in regions for place in places(region)]
    assert len(every) == len(set(every))
    strong = np.argwhere(cells.where(State.SCORED) & (cells.probability >= 0.8)).tolist()
    assert {tuple(place) for place in strong} <= set(every)
    for region in regions:
        assert region.area_mm2 == pytest.approx(sum(cell_areas_mm2(run, cells)[place] for place in places(region)))
        assert cells.probability[region.rows, region.columns].min() >= 0.4
        rings = [np.array(ring) for polygon in region.polygons for ring in polygon]
        twice = sum((r[:-1, 0] * r[1:, 1] - r[1:, 0] * r[:-1, 1]).sum() for r in rings)
        assert twice / 2 * 0.485**2 / 1e6 == pytest.approx(region.area_mm2)
