"""Fits on the calibrating half, on logits with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.manifest import Consistency
from model_zoo.quality import measure
from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch
from tests.training.tiny import settled_network, synthetic_patches, tiny_topology
from training.calibrate import bins, fit_consistency, fit_operating_point, fit_quality, fit_reference
from training.data import DataError
from training.quantize.pipeline import quantize
from training.score import Scorer

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))


def simulated(count: int, temperature: float, shift: float = 0.0) -> tuple[Floats, np.ndarray, np.ndarray]:
    """True log-odds, the logits of a network that exaggerates and shifts them, and labels."""
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 2.5, count)
    labels = (rng.random(count) < sigmoid(truth)).astype(np.int64)
    odds = (truth + shift) * temperature
    common = rng.normal(size=count)  # softmax knows differences alone
    return truth, np.stack([common, common + odds], axis=1).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_recovers_a_known_scale(temperature: float) -> None:
    _, logits, labels = simulated(20000, temperature)
    operating = fit_operating_point(logits, labels)
    assert operating.temperature == pytest.approx(temperature, rel=0.05)
    assert operating.threshold == pytest.approx(0.5, abs=0.02)


def test_the_threshold_undoes_a_shift() -> None:
    truth, logits, labels = simulated(20000, 1.0, shift=1.0)
    operating = fit_operating_point(logits, labels)
    odds = (logits[:, 1] - logits[:, 0]) / operating.temperature
    positive = sigmoid(odds) >= operating.threshold
    assert operating.threshold > 0.6
    assert (positive == (truth >= 0)).mean() > 0.97


def test_the_review_band_lies_about_the_threshold_and_bounds_the_errors_outside() -> None:
    """Errors are rare enough here that a band of less than a fifth of the patches suffices."""
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 6, 5000)
    labels = (rng.random(5000) < sigmoid(truth)).astype(np.int64)
    logits = np.stack([np.zeros(5000), truth], axis=1).astype(np.float32)
    operating = fit_operating_point(logits, labels)
    low, high = operating.review_band
    assert 0 < low < operating.threshold < high < 1
    probability = sigmoid(truth / operating.temperature)
    outside = (probability < low) | (probability > high)
    wrong = (probability >= operating.threshold) != (labels == 1)
    assert 0.8 < outside.mean() < 1
    assert wrong.mean() > 0.06
    assert wrong[outside].mean() == pytest.approx(0.05, abs=0.002)


def test_the_review_band_never_takes_more_than_a_fifth() -> None:
    _, logits, labels = simulated(5000, 1.0)
    operating = fit_operating_point(logits, labels)
    low, high = operating.review_band
    probability = sigmoid((logits[:, 1] - logits[:, 0]) / operating.temperature)
    assert ((probability >= low) & (probability <= high)).mean() == pytest.approx(0.2, abs=0.002)


def test_separable_answers_need_no_review() -> None:
    odds = np.linspace(-5, 5, 40)
    odds += np.sign(odds)
    logits = np.stack([np.zeros(40), odds], axis=1).astype(np.float32)
    operating = fit_operating_point(logits, (odds > 0).astype(np.int64))
    low, high = operating.review_band
    assert low == pytest.approx(operating.threshold)
    assert high == pytest.approx(operating.threshold)


def consistency(name: str, images: Patch) -> Consistency:
    scorer = Scorer(quantize(settled_network(tiny_topology(name), images), images).int8)
    return fit_consistency(scorer, Group.parse(name), images, temperature=0.5)


def test_exact_groups_have_no_floor_and_no_deviation(images: Patch) -> None:
    assert consistency("C4", images) == Consistency(limit=0.0, interpolation_floor=0.0)


def test_groups_that_interpolate_have_both(images: Patch) -> None:
    fitted = consistency("C12", images)
    assert 0 < fitted.interpolation_floor < 0.5
    assert 0 < fitted.limit < 0.5


def test_the_quality_reference_accepts_what_it_was_fitted_to_and_refuses_glass_and_foreign_stain() -> None:
    images = synthetic_patches(60).images
    reference = fit_quality(np.concatenate([images, synthetic_patch("blank", 0)[None]]))
    assert np.mean([measure(image, reference).assessable for image in images]) >= 0.95
    assert reference.min_tissue_fraction == 0.05
    assert not measure(synthetic_patch("blank", 1), reference).assessable
    assert not measure(images[0][..., [1, 0, 2]], reference).assessable
    assert not measure(np.full_like(images[0], 150), reference).assessable


def test_quality_cannot_be_fitted_to_glass() -> None:
    with pytest.raises(DataError, match="training patches show tissue"):
        fit_quality(np.full((20, 96, 96, 3), 250, np.uint8))


def test_bins_hold_equal_counts_and_ties_stay_together() -> None:
    values = np.random.default_rng(3).permutation(np.arange(100.0))
    even = bins(values)
    assert even.counts == (10,) * 10
    assert [int((values < edge).sum()) for edge in even.edges] == list(range(10, 100, 10))
    tied = bins(np.array([0.0] * 55 + list(range(1, 46))))
    assert tied.edges[0] == 0.0
    assert tied.counts == (0, 60, 10, 10, 10, 10)
    assert bins(np.zeros(7)).counts == (0, 7)


def test_the_reference_is_what_answers_to_assessable_patches_say(images: Patch) -> None:
    """Glass has neither tissue nor a place in the reference; foreign stain counts for the stain alone."""
    group, quality = Group.parse("C12"), fit_quality(synthetic_patches(60).images)
    scorer = Scorer(quantize(settled_network(tiny_topology("C12"), images), images).int8)
    assessable = images[[measure(image, quality).assessable for image in images]]
    foreign = assessable[:3, ..., [1, 0, 2]]
    shown = np.concatenate([assessable, foreign, synthetic_patch("blank", 0)[None]])
    fitted = fit_reference(scorer, group, shown, 0.5, quality)
    assert sum(fitted.probability.counts) == sum(fitted.max_deviation.counts) == len(assessable)
    assert sum(fitted.stain_distance.counts) == len(assessable) + 3
    alone = fit_reference(scorer, group, assessable, 0.5, quality)
    assert (fitted.probability, fitted.max_deviation) == (alone.probability, alone.max_deviation)
    assert fitted.stain_distance.edges[-1] > alone.stain_distance.edges[-1]
    limit = fit_consistency(scorer, group, assessable, 0.5).limit
    assert fitted.max_deviation.edges[0] < limit
    with pytest.raises(DataError, match="none of 3 validation patches is assessable"):
        fit_reference(scorer, group, foreign, 0.5, quality)
