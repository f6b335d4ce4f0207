"""ROC, reliability and risk-coverage curves, thinned to the points that a manifest holds."""

from __future__ import annotations

import numpy as np

from model_zoo.classification import Floats, Labels
from model_zoo.manifest import Basis, Curves, Point, ReliabilityBin
from training.metrics import risk_coverage

POINTS, BINS = 41, 10


def curves(probability: Floats, labels: Labels, threshold: float, split: str, basis: Basis) -> Curves:
    """The curves of one network on one split.

    Args:
        probability: calibrated, [N].
        labels: 0 or 1, [N], both present.
    """
    return Curves(
        split=split,
        basis=basis,
        n=len(labels),
        threshold=threshold,
        roc=_roc(probability, labels),
        operating_point=_rates(probability, labels, threshold),
        reliability=_reliability(probability, labels),
        risk_coverage=_risk_coverage(probability, labels, threshold),
    )


def _rates(probability: Floats, labels: Labels, threshold: float) -> Point:
    """Share of the negative and of the positive patches that reach the threshold."""
    reached = probability >= threshold
    return _point(reached[labels == 0].mean(), reached[labels == 1].mean())


def _roc(probability: Floats, labels: Labels) -> tuple[Point, ...]:
    """At thresholds that are quantiles of the negative patches' probabilities, so that points are spread evenly."""
    thresholds = np.quantile(probability[labels == 0], np.linspace(1, 0, POINTS - 2))
    inner = [_rates(probability, labels, float(threshold)) for threshold in thresholds]
    return tuple(dict.fromkeys([(0.0, 0.0), *inner, (1.0, 1.0)]))


def _reliability(probability: Floats, labels: Labels) -> tuple[ReliabilityBin, ...]:
    """Mean probability and share of positive patches in ten bins of equal count."""
    bins = np.array_split(np.argsort(probability, kind="stable"), BINS)
    return tuple(
        ReliabilityBin(probability=_short(probability[b].mean()), positive=_short(labels[b].mean()), n=len(b))
        for b in bins
        if len(b)
    )


def _risk_coverage(probability: Floats, labels: Labels, threshold: float) -> tuple[Point, ...]:
    """Share of wrong answers among the most confident, at coverages from 1/40 to 1."""
    risk = risk_coverage(probability, labels, threshold)
    counts = np.unique(np.linspace(len(risk) / (POINTS - 1), len(risk), POINTS - 1).round().astype(int).clip(1))
    return tuple(_point(count / len(risk), risk[count - 1]) for count in counts.tolist())


def _point(x: float, y: float) -> Point:
    return _short(x), _short(y)


def _short(value: float) -> float:
    return round(float(value), 4)
