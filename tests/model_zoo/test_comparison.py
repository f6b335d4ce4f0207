"""Which figures are worse than another model's, and which are near chance."""

from __future__ import annotations

import pytest

from model_zoo.comparison import compared, near_chance, warnings
from model_zoo.manifest import Metric


def metric(name: str, value: float, half: float = 0.02, split: str = "test", basis: str = "single") -> Metric:
    return Metric.model_validate(
        {
            "name": name,
            "split": split,
            "basis": basis,
            "n": 1000,
            "method": "a test",
            "value": value,
            "low": value - half,
            "high": value + half,
        }
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "worse", "beyond"),
    [
        ("auc", 0.95, 0.90, True, True),
        ("auc", 0.95, 0.94, True, False),
        ("auc", 0.90, 0.95, False, False),
        ("auc", 0.95, 0.95, False, False),
        ("brier", 0.08, 0.12, True, True),
        ("brier", 0.12, 0.08, False, False),
        ("ece", 0.03, 0.04, True, False),
        ("area_under_risk_coverage", 0.03, 0.09, True, True),
    ],
)
def test_worse_has_a_direction_and_intervals(name: str, old: float, new: float, worse: bool, beyond: bool) -> None:
    [found] = compared([metric(name, old)], [metric(name, new)]).values()
    assert (found.worse, found.beyond) == (worse, beyond)


def test_only_figures_of_the_same_split_and_basis_are_compared() -> None:
    new = [metric("auc", 0.7, split="valid"), metric("auc", 0.7, basis="orbit"), metric("accuracy", 0.7)]
    assert compared([metric("auc", 0.95)], new) == {}


def test_a_model_that_guesses_is_named() -> None:
    guesses, good = metric("auc", 0.41), metric("auc", 0.95)
    assert near_chance([guesses, good, metric("accuracy", 0.61), metric("brier", 0.1)])[0] == guesses
    said = warnings([guesses], [good], "accurate 1.0.0")
    assert said == [
        "Near chance: AUC, on test is 0.410 [0.390, 0.430], and a model that guesses has 0.5. Do not use this model.",
        "Worse than accurate 1.0.0 beyond the intervals: AUC, on test is 0.410 [0.390, 0.430], there 0.950 [0.930, "
        "0.970].",
    ]
    assert warnings([good], [good], "accurate 1.0.0") == []
    assert "nothing shows" in warnings([], None)[0]
