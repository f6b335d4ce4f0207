"""Figures of a binary classifier on labelled patches, with 95 % bootstrap intervals over patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RESAMPLES = 1000
ECE_BINS = 15


def accuracy(probability: Floats, labels: Labels, threshold: float) -> float:
    return float(((probability >= threshold) == labels).mean())


def auc(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Area under the ROC curve: the probability that a positive patch ranks above a negative one."""
    positives = int(labels.sum())
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal probabilities share their mean rank
    rank_sum = ranks[place[labels == 1]].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def sensitivity(probability: Floats, labels: Labels, threshold: float) -> float:
    """Share of the positive patches that are called positive."""
    return float((probability[labels == 1] >= threshold).mean())


def specificity(probability: Floats, labels: Labels, threshold: float) -> float:
    """Share of the negative patches that are called negative."""
    return float((probability[labels == 0] < threshold).mean())


def sensitivity_at_95_specificity(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Sensitivity at the threshold just above the highest that more than 5 % of the negative patches reach."""
    negatives = np.sort(probability[labels == 0])[::-1]
    return float((probability[labels == 1] > negatives[int(0.05 * len(negatives))]).mean())


def brier(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    return float(((probability - labels) ** 2).mean())


def expected_calibration_error(probability: Floats, labels: Labels, _threshold: float = 0.5) -> float:
    """Expected calibration error over 15 bins of equal count (Nixon et al. 2019, adaptive)."""
    order = np.argsort(probability, kind="stable")
    small, larger = divmod(len(order), ECE_BINS)  # the first ``larger`` bins have one patch more
    cut = larger * (small + 1)
    gaps: list[float] = []
    for size, part in ((small + 1, order[:cut]), (small, order[cut:])):
        if len(part):
            bins = part.reshape(-1, size)
            gaps += (size * np.abs(probability[bins].mean(1) - labels[bins].mean(1))).tolist()
    return sum(gaps) / len(probability)


Figure = Callable[[Floats, Labels, float], float]


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


def measure_seeds(seeds: Sequence[ScoredAnswers], labels: Labels, figures: Mapping[str, Figure]) -> dict[str, Interval]:
    """The mean of each figure over networks with different seeds; seeds and patches are resampled."""
    (resampled,) = resample([seeds], labels, figures)
    intervals = {}
    for name, figure in figures.items():
        low, high = np.percentile(resampled[name], [2.5, 97.5]).tolist()
        value = mean_of(figure, seeds, labels)
        if name == "ece":
            value, low, high = debiased(value, float(np.mean(resampled[name])), low, high)
        # If resampling biases a figure, its percentiles may exclude it.
        intervals[name] = Interval(value, min(low, value), max(high, value))
    return intervals


def mean_of(figure: Figure, seeds: Sequence[ScoredAnswers], labels: Labels) -> float:
    """The mean of a figure over networks with different seeds."""
    return float(np.mean([figure(answers.probability, labels, answers.threshold) for answers in seeds]))


def resample(
    systems: Sequence[Sequence[ScoredAnswers]], labels: Labels, figures: Mapping[str, Figure]
) -> list[dict[str, list[float]]]:
    """Every figure of every system over resampled seeds and patches; all systems use the same patches."""
    rng = np.random.default_rng(0)
    count = len(labels)
    resampled: list[dict[str, list[float]]] = [{name: [] for name in figures} for _ in systems]
    for _ in range(RESAMPLES):
        chosen = rng.integers(count, size=count)
        y = labels[chosen]
        drawn = [rng.integers(len(seeds), size=len(seeds)).tolist() for seeds in systems]
        if not 0 < y.sum() < count:
            continue
        for values, seeds, places in zip(resampled, systems, drawn, strict=True):
            again = {i: ScoredAnswers(seeds[i].probability[chosen], seeds[i].threshold) for i in set(places)}
            for name, figure in figures.items():
                of = {i: figure(answers.probability, y, answers.threshold) for i, answers in again.items()}
                values[name].append(of[places[0]] if len(places) == 1 else float(np.mean([of[i] for i in places])))
    return resampled


def debiased(value: float, mean: float, low: float, high: float) -> tuple[float, float, float]:
    """Value and basic bootstrap interval of a figure in [0, 1] that resampling inflates, clipped to that range."""
    corrected, lowest, highest = np.clip([2 * value - mean, 2 * value - high, 2 * value - low], 0.0, 1.0).tolist()
    return corrected, lowest, highest
