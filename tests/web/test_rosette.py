"""The rosette shows the measured values."""

from __future__ import annotations

import re
from math import atan2, degrees, hypot
from typing import Any

import pytest

from app.diagnosis.example import EXAMPLE
from app.web.rosette import HOLE, RIM, Rosette, rosette
from model_zoo.decision import ConsistencyReport


def drawn(threshold: float | None = 0.4, **changes: Any) -> Rosette:
    return rosette(ConsistencyReport(**EXAMPLE["consistency"] | changes), threshold)


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_equal_probabilities_are_a_circle() -> None:
    plot = drawn(probabilities=[0.7] * 12, mean=0.7)
    [curve] = plot.curves
    assert {round(hypot(*corner), 1) for corner in corners(curve)} == {round(HOLE + 0.7 * (RIM - HOLE), 1)}
    assert len(corners(curve)) == 72
    assert {round(hypot(point.x, point.y), 1) for point in plot.points} == {round(plot.mean, 1)}


def test_points_lie_where_the_patch_was_turned_to() -> None:
    plot = drawn()
    assert [point.as_given for point in plot.points] == [True] + [False] * 11
    assert [point.measured for point in plot.points] == [
        source == "measured" for source in EXAMPLE["consistency"]["source"]
    ]
    for point, probability in zip(plot.points, EXAMPLE["consistency"]["probabilities"], strict=True):
        assert degrees(atan2(-point.x, -point.y)) % 360 == pytest.approx(point.angle_deg, abs=0.02)
        assert hypot(point.x, point.y) == pytest.approx(HOLE + probability * (RIM - HOLE), abs=0.02)


def test_what_was_not_measured_is_not_drawn() -> None:
    some = [0.5] + [None] * 11
    plot = drawn(None, probabilities=some, source=["measured"] + ["not_measured"] * 11, mean=0.5, consistent=None)
    assert len(plot.points) == 1
    assert plot.curves == ()
    assert plot.threshold is None


def test_reflections_are_a_curve_of_their_own() -> None:
    turned = [0.0, 90.0, 180.0, 270.0]
    plot = drawn(
        group="D4",
        angles_deg=turned * 2,
        reflected=[False] * 4 + [True] * 4,
        probabilities=[0.2] * 4 + [0.9] * 4,
        source=["measured"] * 8,
        mean=0.55,
    )
    assert len(plot.curves) == 2
    assert len(plot.marks) == 4
    assert [len({round(hypot(*corner)) for corner in corners(curve)}) for curve in plot.curves] == [1, 1]


def test_limits_beyond_the_scale_are_left_out() -> None:
    assert len(drawn(mean=0.5, limit=0.2).limits) == 2
    assert len(drawn(mean=0.9, limit=0.2).limits) == 1
    assert drawn(mean=0.5, limit=0.6).limits == ()
    assert drawn(mean=0.01, interpolation_floor=0.05).floor.count("A") == 4
