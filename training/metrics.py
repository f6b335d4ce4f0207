"""Figures of a binary classifier, each with a 95 % bootstrap interval over patches.

The intervals resample patches, not slides: if slides are unknown, they are too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from model_zoo import classification
from model_zoo.classification import (
    RESAMPLES,
    Figure,
    Floats,
    Interval,
    Labels,
    ScoredAnswers,
    accuracy,
    auc,
    brier,
    expected_calibration_error,
    mean_of,
    resample,
    sensitivity,
    sensitivity_at_95_specificity,
    specificity,
)
from model_zoo.manifest import Basis, Metric

__all__ = [
    "FIGURES",
    "PAIRED_FIGURES",
    "RESAMPLES",
    "Interval",
    "ScoredAnswers",
    "accuracy",
    "area_under_risk_coverage",
    "auc",
    "brier",
    "difference",
    "expected_calibration_error",
    "measure",
    "measure_seeds",
    "risk_coverage",
    "sensitivity_at_95_specificity",
    "served",
]

METHOD = "percentile bootstrap over patches, 1000 resamples; slides unknown: too narrow"
SEEDS_METHOD = "percentile bootstrap over seeds and patches, 1000 resamples; slides unknown: too narrow"
ECE_METHOD = "ece: corrected for the bootstrap's bias, basic interval"


def risk_coverage(probability: Floats, labels: Labels, threshold: float) -> Floats:
    """Share of wrong answers among the k most confident, for k = 1 … N: [N].

    The confidence is the distance of the log-odds from the threshold's. Source: El-Yaniv & Wiener 2010.
    """
    log_odds = logit(np.clip(probability, 1e-12, 1 - 1e-12)) - logit(np.clip(threshold, 1e-12, 1 - 1e-12))
    wrong = (probability >= threshold) != (labels == 1)
    surest_first = np.argsort(-np.abs(log_odds), kind="stable")
    risk: Floats = np.cumsum(wrong[surest_first]) / np.arange(1, len(labels) + 1)
    return risk


def area_under_risk_coverage(probability: Floats, labels: Labels, threshold: float) -> float:
    return float(risk_coverage(probability, labels, threshold).mean())


FIGURES: dict[str, Figure] = {
    "accuracy": accuracy,
    "auc": auc,
    "sensitivity_at_95_specificity": sensitivity_at_95_specificity,
    "brier": brier,
    "ece": expected_calibration_error,
    "area_under_risk_coverage": area_under_risk_coverage,
    "sensitivity": sensitivity,
    "specificity": specificity,
}
PAIRED_FIGURES = {name: figure for name, figure in FIGURES.items() if name != "ece"}


def measure(
    probability: Floats,
    labels: Labels,
    threshold: float,
    split: str,
    basis: Basis = "single",
    figures: Mapping[str, Figure] = FIGURES,
) -> tuple[Metric, ...]:
    """Figures of one network on one split with their intervals.

    Args:
        probability: calibrated probability of the positive class, [N].
        labels: 0 or 1, [N], both present.
        threshold: at or above which a patch is called positive.
        split: name for the metrics.
        basis: whether the patch as given or the mean over its orbit decided.
        figures: names of the figures.
    """
    measured = measure_seeds([ScoredAnswers(probability, threshold)], labels, figures)
    return tuple(
        Metric(
            name=name,
            split=split,
            n=len(labels),
            value=figure.value,
            low=figure.low,
            high=figure.high,
            method=ECE_METHOD if name == "ece" else METHOD,
            basis=basis,
        )
        for name, figure in measured.items()
    )


def served(
    probability: Floats, labels: Labels, threshold: float, split: str, assessable: npt.NDArray[np.bool_]
) -> tuple[Metric, ...]:
    """Accuracy of served answers on basis orbit: a patch that is not assessable counts as negative."""
    answers = np.where(assessable, probability, 0.0)
    return measure(answers, labels, threshold, split, "orbit", {"accuracy_as_served": accuracy})


def measure_seeds(
    seeds: Sequence[ScoredAnswers], labels: Labels, figures: Mapping[str, Figure] = FIGURES
) -> dict[str, Interval]:
    """The mean of each figure over networks with different seeds; seeds and patches are resampled."""
    return classification.measure_seeds(seeds, labels, figures)


def difference(
    minuend: Sequence[ScoredAnswers],
    subtrahend: Sequence[ScoredAnswers],
    labels: Labels,
    figures: Mapping[str, Figure] = PAIRED_FIGURES,
) -> dict[str, Interval]:
    """Difference of the means over seeds, paired over patches: each resample uses the same patches for both."""
    first, second = resample([minuend, subtrahend], labels, figures)
    intervals = {}
    for name, figure in figures.items():
        low, high = np.percentile(np.subtract(first[name], second[name]), [2.5, 97.5]).tolist()
        value = mean_of(figure, minuend, labels) - mean_of(figure, subtrahend, labels)
        intervals[name] = Interval(value, low, high)
    return intervals
