"""Figures of a binary classifier, each with a 95 % bootstrap interval over patches.

The intervals resample patches, not slides: where slides are unknown they are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

from model_zoo.manifest import Metric

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RESAMPLES = 1000
METHOD = "percentile bootstrap over patches, 1000 resamples; slides unknown: too narrow"
ECE_METHOD = "ece: corrected for the bootstrap's bias, basic interval"
ECE_BINS = 15


def accuracy(probability: Floats, labels: Labels, threshold: float) -> float:
    return float(((probability >= threshold) == labels).mean())


def auc(probability: Floats, labels: Labels) -> float:
    return float(roc_auc_score(labels, probability))


def sensitivity_at_95_specificity(probability: Floats, labels: Labels) -> float:
    false_positives, true_positives, _ = roc_curve(labels, probability)
    return float(true_positives[false_positives <= 0.05].max())


def brier(probability: Floats, labels: Labels) -> float:
    return float(((probability - labels) ** 2).mean())


def expected_calibration_error(probability: Floats, labels: Labels) -> float:
    """Over 15 bins of equal count (Nixon et al. 2019, adaptive)."""
    bins = np.array_split(np.argsort(probability, kind="stable"), ECE_BINS)
    gaps = [len(b) * abs(float(probability[b].mean() - labels[b].mean())) for b in bins if len(b)]
    return sum(gaps) / len(probability)


def measure(probability: Floats, labels: Labels, threshold: float, split: str) -> tuple[Metric, ...]:
    """All figures of one split with their intervals.

    Args:
        probability: calibrated probability of the positive class, [N].
        labels: 0 or 1, [N], both present.
        threshold: at or above which a patch is called positive.
        split: name for the metrics.
    """
    figures: dict[str, Callable[[Floats, Labels], float]] = {
        "accuracy": lambda p, y: accuracy(p, y, threshold),
        "auc": auc,
        "sensitivity_at_95_specificity": sensitivity_at_95_specificity,
        "brier": brier,
        "ece": expected_calibration_error,
    }
    rng = np.random.default_rng(0)
    count = len(labels)
    resampled: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(RESAMPLES):
        chosen = rng.integers(count, size=count)
        p, y = probability[chosen], labels[chosen]
        if 0 < y.sum() < count:
            for name, figure in figures.items():
                resampled[name].append(figure(p, y))
    metrics = []
    for name, figure in figures.items():
        low, high = np.percentile(resampled[name], [2.5, 97.5]).tolist()
        value, method = figure(probability, labels), METHOD
        if name == "ece":
            value, low, high = _debiased(value, float(np.mean(resampled[name])), low, high)
            method = ECE_METHOD
        metrics.append(Metric(name=name, split=split, n=count, value=value, low=low, high=high, method=method))
    return tuple(metrics)


def _debiased(value: float, mean: float, low: float, high: float) -> tuple[float, float, float]:
    """Value and basic bootstrap interval of a figure that resampling inflates, none below 0."""
    return max(0.0, 2 * value - mean), max(0.0, 2 * value - high), max(0.0, 2 * value - low)
