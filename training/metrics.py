"""Figures of a binary classifier, each with a 95 % bootstrap interval over patches.

The intervals resample patches, not slides: if slides are unknown, they are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logit
from scipy.stats import rankdata

from model_zoo.manifest import Basis, Metric

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RESAMPLES = 1000
METHOD = "percentile bootstrap over patches, 1000 resamples; slides unknown: too narrow"
SEEDS_METHOD = "percentile bootstrap over seeds and patches, 1000 resamples; slides unknown: too narrow"
ECE_METHOD = "ece: corrected for the bootstrap's bias, basic interval"
ECE_BINS = 15


def accuracy(probability: Floats, labels: Labels, threshold: float) -> float:
    return float(((probability >= threshold) == labels).mean())


def auc(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Area under the ROC curve: the probability that a positive patch ranks above a negative one."""
    positives = int(labels.sum())
    rank_sum = rankdata(probability)[labels == 1].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def sensitivity_at_95_specificity(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Sensitivity at the threshold just above the highest that more than 5 % of the negative patches reach."""
    negatives = np.sort(probability[labels == 0])[::-1]
    return float((probability[labels == 1] > negatives[int(0.05 * len(negatives))]).mean())


def brier(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    return float(((probability - labels) ** 2).mean())


def expected_calibration_error(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Expected calibration error over 15 bins of equal count (Nixon et al. 2019, adaptive)."""
    bins = np.array_split(np.argsort(probability, kind="stable"), ECE_BINS)
    gaps = [len(b) * abs(float(probability[b].mean() - labels[b].mean())) for b in bins if len(b)]
    return sum(gaps) / len(probability)


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


Figure = Callable[[Floats, Labels, float], float]
FIGURES: dict[str, Figure] = {
    "accuracy": accuracy,
    "auc": auc,
    "sensitivity_at_95_specificity": sensitivity_at_95_specificity,
    "brier": brier,
    "ece": expected_calibration_error,
    "area_under_risk_coverage": area_under_risk_coverage,
}
PAIRED_FIGURES = {name: figure for name, figure in FIGURES.items() if name != "ece"}


@dataclass(frozen=True)
class ScoredAnswers:
    """One network's answers to a split.

    Attributes:
        probability: calibrated probability of the positive class, [N].
        threshold: at or above which a patch is called positive.
    """

    probability: Floats
    threshold: float


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


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
    (resampled,) = _resample([seeds], labels, figures)
    intervals = {}
    for name, figure in figures.items():
        low, high = np.percentile(resampled[name], [2.5, 97.5]).tolist()
        value = _mean(figure, seeds, labels)
        if name == "ece":
            value, low, high = _debiased(value, float(np.mean(resampled[name])), low, high)
        # If resampling biases a figure, its percentiles may exclude it.
        intervals[name] = Interval(value, min(low, value), max(high, value))
    return intervals


def difference(
    minuend: Sequence[ScoredAnswers],
    subtrahend: Sequence[ScoredAnswers],
    labels: Labels,
    figures: Mapping[str, Figure] = PAIRED_FIGURES,
) -> dict[str, Interval]:
    """Difference of the means over seeds, paired over patches: each resample uses the same patches for both."""
    first, second = _resample([minuend, subtrahend], labels, figures)
    intervals = {}
    for name, figure in figures.items():
        low, high = np.percentile(np.subtract(first[name], second[name]), [2.5, 97.5]).tolist()
        value = _mean(figure, minuend, labels) - _mean(figure, subtrahend, labels)
        intervals[name] = Interval(value, low, high)
    return intervals


def _mean(figure: Figure, seeds: Sequence[ScoredAnswers], labels: Labels) -> float:
    return float(np.mean([figure(answers.probability, labels, answers.threshold) for answers in seeds]))


def _resample(
    systems: Sequence[Sequence[ScoredAnswers]], labels: Labels, figures: Mapping[str, Figure]
) -> list[dict[str, list[float]]]:
    """Every figure of every system over resampled seeds and patches; all systems use the same patches."""
    rng = np.random.default_rng(0)
    count = len(labels)
    resampled: list[dict[str, list[float]]] = [{name: [] for name in figures} for _ in systems]
    for _ in range(RESAMPLES):
        chosen = rng.integers(count, size=count)
        y = labels[chosen]
        drawn = [[seeds[i] for i in rng.integers(len(seeds), size=len(seeds))] for seeds in systems]
        if not 0 < y.sum() < count:
            continue
        for values, seeds in zip(resampled, drawn, strict=True):
            again = [ScoredAnswers(answers.probability[chosen], answers.threshold) for answers in seeds]
            for name, figure in figures.items():
                values[name].append(_mean(figure, again, y))
    return resampled


def _debiased(value: float, mean: float, low: float, high: float) -> tuple[float, float, float]:
    """Value and basic bootstrap interval of a figure in [0, 1] that resampling inflates, clipped to that range."""
    corrected, lowest, highest = np.clip([2 * value - mean, 2 * value - high, 2 * value - low], 0.0, 1.0).tolist()
    return corrected, lowest, highest
