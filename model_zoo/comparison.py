"""Compares the stated figures of two models: which are worse, and which are near chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model_zoo.manifest import Metric

LOWER_IS_BETTER = frozenset({"brier", "ece", "area_under_risk_coverage"})
TITLES = {
    "auc": "AUC",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "area_under_risk_coverage": "area under risk–coverage",
}
NEAR_CHANCE = {"auc": 0.6, "accuracy": 0.6}

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Compared:
    """One figure of two models on the same split and basis.

    Attributes:
        worse: whether the new value is worse than the old one.
        beyond: whether it is worse beyond the intervals: each value lies outside of the other's 95 % interval.
    """

    old: Metric
    new: Metric
    worse: bool
    beyond: bool


def compared(old: Iterable[Metric], new: Iterable[Metric]) -> dict[Key, Compared]:
    """The figures that both models state, by split, basis and name."""
    before = {key_of(metric): metric for metric in old}
    return {key_of(metric): _compare(before[key_of(metric)], metric) for metric in new if key_of(metric) in before}


def key_of(metric: Metric) -> Key:
    """Split, basis and name."""
    return metric.split, metric.basis, metric.name


def near_chance(metrics: Iterable[Metric]) -> list[Metric]:
    """The AUCs and accuracies whose lower 95 % bound is below 0.6: a model that guesses has 0.5."""
    return [metric for metric in metrics if metric.low < NEAR_CHANCE.get(metric.name, -1.0)]


def warnings(new: Sequence[Metric], old: Sequence[Metric] | None, old_name: str = "") -> list[str]:
    """What an administrator should know of a model before it is put into service.

    Args:
        new: its figures.
        old: those of the model in service; None without one.
        old_name: that model's name and version.
    """
    found = []
    if not any(metric.name in NEAR_CHANCE for metric in new):
        found.append("The artifact states neither AUC nor accuracy: nothing shows that it is better than chance.")
    for metric in near_chance(new):
        found.append(f"Near chance: {described(metric)}, and a model that guesses has 0.5. Do not use this model.")
    for each in compared(old or (), new).values():
        if each.beyond:
            found.append(
                f"Worse than {old_name} beyond the intervals: {described(each.new)}, there {_value(each.old)}."
            )
    return found


def described(metric: Metric) -> str:
    """A figure with its interval, in words."""
    basis = ", all turns" if metric.basis == "orbit" else ""
    name = TITLES.get(metric.name, metric.name.replace("_", " "))
    return f"{name}{basis}, on {metric.split} is {_value(metric)}"


def _value(metric: Metric) -> str:
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _compare(old: Metric, new: Metric) -> Compared:
    sign = -1 if new.name in LOWER_IS_BETTER else 1
    worse = sign * new.value < sign * old.value
    outside = not old.low <= new.value <= old.high and not new.low <= old.value <= new.high
    return Compared(old, new, worse, worse and outside)
