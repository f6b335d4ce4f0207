"""Fits temperature, threshold, review band and limits on the calibrating half of the validation patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from model_zoo.manifest import Bins, Calibration, Consistency, OrbitDecision, QualityReference, Reference, Triple
from model_zoo.network import probability
from model_zoo.quality import measure, stain_distance, tissue_statistics
from model_zoo.symmetry import Group
from training.data import DataError
from training.score import AnswersPatches, Scorer, turned

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]

MIN_TISSUE_FRACTION = 0.05
QUALITY_SAMPLE = 4000
MIN_TISSUE_PATCHES = 8
MIN_STAIN_VARIANCE = 1.1e-6  # of a mean optical density: below the grey levels' resolution; bounds the precision
CONSISTENCY_QUANTILE = 0.95
BINS = 10
LOG_TEMPERATURES = (-2.99, 2.99)  # within the bounds of a manifest, 0.05 to 20
REVIEW_ERROR = 0.05
REVIEW_SHARE = 0.20


@dataclass(frozen=True)
class Operating:
    """Threshold, temperature and review band."""

    temperature: float
    threshold: float
    review_band: tuple[float, float]


def fit_operating_point(logits: npt.NDArray[np.float32], labels: Labels) -> Operating:
    """Temperature by least log loss, threshold where a logistic fit of the labels crosses one half.

    The review band is the narrowest band about the threshold, symmetric in log-odds, outside which at most
    5 % of the answers are wrong, but never more than 20 % of the patches. Source of the temperature: Guo et
    al. 2017; of the logistic fit: Platt 1999.
    """
    z = logits[:, 1].astype(np.float64) - logits[:, 0].astype(np.float64)

    def log_loss(scaled: Floats) -> float:
        return float(np.logaddexp(0.0, np.where(labels == 1, -scaled, scaled)).mean())

    best = minimize_scalar(lambda t: log_loss(z / np.exp(t)), bounds=LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(best.x))
    slope, offset = minimize(lambda ab: log_loss(ab[0] * z + ab[1]), np.array([1 / temperature, 0.0])).x
    scaled, cut = z / temperature, -offset / slope / temperature
    threshold = float(expit(cut))

    distance = np.abs(scaled - cut)
    wrong = (scaled >= cut) != (labels == 1)
    order = np.argsort(-distance)
    error_outside = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(error_outside <= REVIEW_ERROR)
    kept = max(good[-1] + 1 if len(good) else 0, int(np.ceil((1 - REVIEW_SHARE) * len(order))))
    width = float(distance[order[kept - 1]]) if kept < len(order) else 0.0
    low, high = expit([cut - width, cut + width]).tolist()
    return Operating(temperature, threshold, (min(low, threshold), max(high, threshold)))


def fit_consistency(scorer: Scorer, group: Group, images: Images, temperature: float) -> Consistency:
    """The limit is the 95th percentile, over patches, of the largest deviation from the orbit's mean.

    The floor is the mean change when a patch is turned by the smallest turn that interpolates, and back.
    """
    orbit = _orbit(scorer, group, images, temperature)
    limit = float(np.quantile(_max_deviation(orbit), CONSISTENCY_QUANTILE))
    interpolating = [g for g in group.coset_representatives if g not in group.exact_elements]
    if not interpolating:
        return Consistency(limit=limit, interpolation_floor=0.0)
    there = interpolating[0]
    back = group.inverse(there)
    returned = turned(turned(images, group, there), group, back)
    change = np.abs(probability(scorer.logits(returned), temperature) - orbit[:, 0])
    return Consistency(limit=limit, interpolation_floor=float(change.mean()))


def orbit_logits(scorer: AnswersPatches, group: Group, images: Images) -> npt.NDArray[np.float32]:
    """Mean logits over all turns of each patch, float32 [N, 2]; one inference for each coset of the exact subgroup."""
    representatives = group.coset_representatives
    answers = [scorer.logits(turned(images, group, g)) for g in representatives]
    mean: npt.NDArray[np.float32] = np.stack(answers).mean(0, dtype=np.float64).astype(np.float32)
    return mean


def fit_orbit_decision(
    scorer: Scorer, group: Group, images: Images, labels: Labels, temperature: float, quality: QualityReference
) -> OrbitDecision:
    """The operating point and the reference of the mean logits over the orbit.

    Args:
        temperature: of the patch as given, for the comparison of turns.
    """
    operating = fit_operating_point(orbit_logits(scorer, group, images), labels)
    return OrbitDecision(
        calibration=Calibration(temperature=operating.temperature, prevalence=float(labels.mean())),
        threshold=operating.threshold,
        review_band=operating.review_band,
        reference=fit_reference(scorer, group, images, temperature, quality, operating.temperature),
    )


def _decided(scorer: Scorer, group: Group, images: Images, temperature: float) -> Floats:
    decided: Floats = probability(orbit_logits(scorer, group, images), temperature)
    return decided


def fit_reference(
    scorer: Scorer,
    group: Group,
    images: Images,
    temperature: float,
    quality: QualityReference,
    orbit_temperature: float | None = None,
) -> Reference:
    """Deciles of the answers to these patches; patches that are not assessable count for the stain only.

    Args:
        temperature: of the patch as given.
        orbit_temperature: of the mean logits over the orbit, if they decide.

    Raises:
        DataError: if no patch is assessable.
    """
    measured = [measure(image, quality) for image in images]
    assessable = np.array([each.assessable for each in measured])
    if not assessable.any():
        raise DataError(f"none of {len(images)} validation patches is assessable")
    orbit = _orbit(scorer, group, images[assessable], temperature)
    decided = (
        orbit[:, 0] if orbit_temperature is None else _decided(scorer, group, images[assessable], orbit_temperature)
    )
    return Reference(
        probability=bins(decided),
        max_deviation=bins(_max_deviation(orbit)),
        stain_distance=bins(np.array([each.stain_distance for each in measured if each.stain_distance is not None])),
    )


def bins(values: Floats) -> Bins:
    """Ten bins with counts as equal as ties permit, of [N] values; fewer if deciles coincide."""
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Bins(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _orbit(scorer: Scorer, group: Group, images: Images, temperature: float) -> Floats:
    """Probabilities of every element's turn, in order, [N, |G|]; one inference for each coset."""
    by_representative = {
        g: probability(scorer.logits(turned(images, group, g)), temperature) for g in group.coset_representatives
    }
    return np.stack([by_representative[g] for g in group.coset_of], axis=1)


def _max_deviation(orbit: Floats) -> Floats:
    """Largest distance from each orbit's mean, [N, |G|] → [N]."""
    deviation: Floats = np.abs(orbit - orbit.mean(1, keepdims=True)).max(1)
    return deviation


def fit_quality(images: Images) -> QualityReference:
    """Bounds at the outermost thousandth of the training patches; the tissue bound is a rule, 5 %.

    Raises:
        DataError: if too few patches show tissue.
    """
    chosen = np.random.default_rng(0).permutation(len(images))[:QUALITY_SAMPLE]
    measured = [tissue_statistics(images[i]) for i in chosen]
    tissue = [
        (sharpness, density) for share, sharpness, density in measured if share >= MIN_TISSUE_FRACTION and density
    ]
    if len(tissue) < MIN_TISSUE_PATCHES:
        raise DataError(f"{len(tissue)} of {len(measured)} training patches show tissue, expected {MIN_TISSUE_PATCHES}")
    densities = np.array([density for _, density in tissue])
    mean: Triple = tuple(densities.mean(0).tolist())
    covariance = np.cov(densities.T) + MIN_STAIN_VARIANCE * np.eye(3)
    first, second, third = (tuple(row) for row in np.linalg.inv(covariance).tolist())
    precision = (first, second, third)
    distance = [stain_distance(density, mean, precision) for _, density in tissue]
    return QualityReference(
        min_tissue_fraction=MIN_TISSUE_FRACTION,
        min_sharpness=float(np.quantile([sharpness for sharpness, _ in tissue], 0.001)),
        max_stain_distance=float(np.quantile(distance, 0.999)),
        stain_mean=mean,
        stain_precision=precision,
    )
