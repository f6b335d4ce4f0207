"""What follows from an orbit's answers: how far they agree, the label, and the decision with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, log, log1p, sqrt
from statistics import fmean
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from model_zoo.basis import Ground
from model_zoo.manifest import Manifest, QualityReference
from model_zoo.orbit import Orbit, Source
from model_zoo.quality import Quality
from model_zoo.reasons import Code, Reason, reason

Label = Literal["metastasis", "no_metastasis"]
Decision = Literal["positive", "negative", "review", "not_assessable"]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(slots=True)
class ConsistencyReport:
    """How far the answer depends on the patch's orientation; lists have one entry per group element."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    group: str
    exact_subgroup: str
    exact: Annotated[
        bool | None,
        Field(
            description="Whether the exact subgroup's turns agreed to the last bit in this request; "
            "null when that was not measured."
        ),
    ]
    angles_deg: tuple[float, ...]
    reflected: tuple[bool, ...]
    probabilities: Annotated[list[Probability | None], Field(description="Of each turn by itself, whatever the basis.")]
    source: tuple[Source, ...]
    mean: Annotated[
        Probability, Field(description="Over the known probabilities, as are the three figures that follow.")
    ]
    std: float
    max_deviation: Annotated[float, Field(description="Largest distance of a probability from the mean.")]
    label_agreement: Annotated[Probability, Field(description="Share of elements whose label is the answer's.")]
    limit: Annotated[Probability, Field(description="Largest deviation that counts as consistent.")]
    interpolation_floor: Annotated[
        Probability, Field(description="What turning there and back changes by interpolation alone.")
    ]
    consistent: Annotated[bool | None, Field(description="Null unless every element is known.")]


def consistency_report(
    manifest: Manifest, orbit: Orbit, probabilities: list[float], label: Label | None = None
) -> ConsistencyReport:
    """Summarize an orbit.

    Args:
        manifest: of the model that answered.
        orbit: what was measured.
        probabilities: calibrated, one for each of ``orbit.known``, the patch as given first.
        label: the answer's; by default that of the patch as given.
    """
    mean, std, deviation = _spread(probabilities)
    labels = [label_of(p, manifest.threshold) for p in probabilities]
    values: list[float | None] = [None] * len(orbit.source)
    for g, probability in zip(orbit.known, probabilities, strict=True):
        values[g] = probability
    return ConsistencyReport(
        group=manifest.group.name,
        exact_subgroup=manifest.exact_subgroup,
        exact=orbit.exact,
        angles_deg=manifest.group.angles_deg,
        reflected=manifest.group.reflected,
        probabilities=values,
        source=orbit.source,
        mean=mean,
        std=std,
        max_deviation=deviation,
        label_agreement=labels.count(label or labels[0]) / len(labels),
        limit=manifest.consistency.limit,
        interpolation_floor=manifest.consistency.interpolation_floor,
        consistent=deviation <= manifest.consistency.limit if None not in values else None,
    )


def _spread(probabilities: list[float]) -> tuple[float, float, float]:
    """Mean, standard deviation, and the largest distance from the mean."""
    if len(probabilities) == 1:
        return probabilities[0], 0.0, 0.0
    mean = fmean(probabilities)
    distances = [abs(p - mean) for p in probabilities]
    return mean, sqrt(fsum(d**2 for d in distances) / len(distances)), max(distances)


def label_of(probability: float, threshold: float) -> Label:
    return "metastasis" if probability >= threshold else "no_metastasis"


def decide(
    ground: Ground, consistency: ConsistencyReport, quality: Quality, reference: QualityReference
) -> tuple[Decision, list[Reason]]:
    """The decision and its reasons: what is not fit to be assessed is refused first, doubt is for a person."""
    if not quality.assessable:
        return "not_assessable", shortcomings(quality, reference)
    low, high = ground.review_band
    reasons = []
    if low <= ground.probability <= high:
        reasons.append(reason("review_band", ground.probability, ground.review_band))
    if consistency.consistent is False:
        reasons.append(reason("turning", consistency.max_deviation, consistency.limit))
    if reasons:
        return "review", reasons
    return ("positive" if label_of(ground.probability, ground.threshold) == "metastasis" else "negative"), []


def shortcomings(quality: Quality, reference: QualityReference) -> list[Reason]:
    """Why a patch cannot be assessed; empty when it can."""
    return [reason(*failure) for failure in failures(quality, reference)]


def failures(quality: Quality, reference: QualityReference) -> list[tuple[Code, float | None, float | None]]:
    """Code, value and limit of what keeps a patch from being assessed."""
    found: list[tuple[Code, float | None, float | None]] = []
    if quality.tissue_fraction < reference.min_tissue_fraction:
        found.append(("tissue", quality.tissue_fraction, reference.min_tissue_fraction))
    if quality.sharpness < reference.min_sharpness:
        found.append(("sharpness", quality.sharpness, reference.min_sharpness))
    if quality.stain_distance is None:
        found.append(("no_tissue", None, None))
    elif quality.stain_distance > reference.max_stain_distance:
        found.append(("stain", quality.stain_distance, reference.max_stain_distance))
    return found


def at_prevalence(probability: float, site: float, calibration: float) -> float:
    """A calibrated probability, moved to another prevalence by Bayes' rule; 0 and 1 stay.

    logit(p') = logit(p) + logit(site) - logit(calibration): it holds where positive and negative patches look as they
    did where it was calibrated, and only their numbers differ.

    Args:
        probability: calibrated.
        site: share of positive patches there, between 0 and 1.
        calibration: share of positive patches where it was calibrated, between 0 and 1.
    """
    if probability in {0.0, 1.0}:
        return probability
    log_odds = _logit(probability) + _logit(site) - _logit(calibration)
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))


def _logit(probability: float) -> float:
    return log(probability) - log1p(-probability)
