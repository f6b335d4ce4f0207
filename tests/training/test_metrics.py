"""Figures against closed forms, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from model_zoo.manifest import Metric
from training.metrics import (
    FIGURES,
    ScoredAnswers,
    accuracy,
    area_under_risk_coverage,
    auc,
    brier,
    difference,
    expected_calibration_error,
    measure,
    measure_seeds,
    risk_coverage,
    sensitivity_at_95_specificity,
)

RNG = np.random.default_rng(0)
PROBABILITY = RNG.beta(0.6, 0.6, 400).round(2)  # rounded, so that there are ties
LABELS = (RNG.random(400) < PROBABILITY).astype(np.int64)


def test_accuracy_counts_the_threshold_as_positive() -> None:
    assert accuracy(np.array([0.2, 0.5, 0.7, 0.4]), np.array([0, 1, 0, 1]), 0.5) == 0.5
    assert accuracy(np.array([0.2, 0.5, 0.7, 0.4]), np.array([0, 1, 1, 1]), 0.4) == 1.0


def test_auc_is_the_chance_of_ranking_a_pair_rightly() -> None:
    positive, negative = PROBABILITY[LABELS == 1], PROBABILITY[LABELS == 0]
    wins = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert auc(PROBABILITY, LABELS) == pytest.approx(wins)
    assert auc(PROBABILITY, LABELS) == pytest.approx(roc_auc_score(LABELS, PROBABILITY))


def test_sensitivity_is_the_best_among_thresholds_that_keep_the_specificity() -> None:
    best = 0.0
    for threshold in np.append(np.unique(PROBABILITY), 2.0):
        called = threshold <= PROBABILITY
        if (~called[LABELS == 0]).mean() >= 0.95:
            best = max(best, float(called[LABELS == 1].mean()))
    assert 0.3 < best < 1
    assert sensitivity_at_95_specificity(PROBABILITY, LABELS) == pytest.approx(best)


def test_brier_is_the_mean_squared_error() -> None:
    assert brier(np.array([0.0, 1.0, 0.5]), np.array([0, 0, 1])) == pytest.approx((0 + 1 + 0.25) / 3)
    assert brier(PROBABILITY, LABELS) == pytest.approx(brier_score_loss(LABELS, PROBABILITY))


def test_calibration_error_of_one_wrong_probability_is_its_gap() -> None:
    assert expected_calibration_error(np.full(60, 0.7), np.ones(60, np.int64)) == pytest.approx(0.3)
    assert expected_calibration_error(np.array([0.0, 1.0] * 30), np.array([0, 1] * 30)) == 0.0


def test_calibration_error_averages_the_gaps_of_equally_full_bins() -> None:
    """Half of the patches are called 0.1 and half 0.8; of both, half are positive. 30 patches fill 15 bins of 2."""
    probability = np.array([0.1] * 16 + [0.8] * 14)
    labels = np.array([0, 1] * 15)
    assert expected_calibration_error(probability, labels) == pytest.approx((16 * 0.4 + 14 * 0.3) / 30)


@pytest.fixture(scope="module")
def measured() -> tuple[Metric, ...]:
    return measure(PROBABILITY, LABELS, 0.5, "valid")


def test_intervals_contain_the_value(measured: tuple[Metric, ...]) -> None:
    assert [m.name for m in measured] == list(FIGURES)
    for figure in measured:
        assert figure.split == "valid"
        assert figure.n == 400
        assert figure.low < figure.value < figure.high


def test_the_interval_of_a_small_calibration_error_contains_it() -> None:
    rng = np.random.default_rng(3)
    probability = 1 / (1 + np.exp(-rng.normal(0, 3, 1450)))
    labels = (rng.random(1450) < probability).astype(np.int64)
    ece = measure(probability, labels, 0.5, "valid")[4]
    assert ece.low <= ece.value <= ece.high
    assert ece.low == 0.0  # this classifier is calibrated


def test_the_interval_of_accuracy_is_the_binomial_one(measured: tuple[Metric, ...]) -> None:
    figure = measured[0]
    half = 1.96 * np.sqrt(figure.value * (1 - figure.value) / figure.n)
    assert figure.low == pytest.approx(figure.value - half, abs=0.01)
    assert figure.high == pytest.approx(figure.value + half, abs=0.01)


def test_fewer_patches_give_wider_intervals_and_the_same_ones_again(measured: tuple[Metric, ...]) -> None:
    few, again = (measure(PROBABILITY[:100], LABELS[:100], 0.5, "valid") for _ in range(2))
    assert few == again
    assert few[1].high - few[1].low > 1.4 * (measured[1].high - measured[1].low)


def test_risk_is_that_of_the_surest_answers() -> None:
    probability = np.array([0.99, 0.6, 0.1, 0.45])
    labels = np.array([1, 0, 0, 0])
    assert risk_coverage(probability, labels, 0.5) == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert area_under_risk_coverage(probability, labels, 0.5) == pytest.approx((1 / 3 + 1 / 4) / 4)


def noisy(seed: int, noise: float) -> ScoredAnswers:
    rng = np.random.default_rng(seed)
    return ScoredAnswers(np.clip(PROBABILITY + rng.normal(0, noise, len(PROBABILITY)), 0, 1), 0.5)


def test_a_difference_is_that_of_the_means_and_its_interval_tells_signal_from_noise() -> None:
    good, bad = [noisy(seed, 0.05) for seed in range(3)], [noisy(seed, 0.6) for seed in range(3, 5)]
    delta = difference(good, bad, LABELS)
    expected = measure_seeds(good, LABELS)["auc"].value - measure_seeds(bad, LABELS)["auc"].value
    assert delta["auc"].value == pytest.approx(expected)
    assert delta["auc"].low > 0
    assert delta["brier"].high < 0
    nothing = difference(good, [noisy(seed, 0.05) for seed in range(5, 8)], LABELS)["auc"]
    assert nothing.low < 0 < nothing.high


def test_pairing_makes_the_interval_of_a_difference_narrower_than_that_of_a_figure() -> None:
    delta = difference([noisy(0, 0.02)], [noisy(1, 0.02)], LABELS)["auc"]
    alone = measure_seeds([noisy(0, 0.02)], LABELS)["auc"]
    assert delta.high - delta.low < (alone.high - alone.low) / 2
