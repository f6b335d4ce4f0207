"""The answer: what was measured, and the verdict that follows from it."""

from __future__ import annotations

from datetime import datetime
from math import fsum, log, log1p, sqrt
from statistics import fmean
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.diagnosis.basis import Basis, Ground, ground_of
from app.diagnosis.example import EXAMPLE
from app.diagnosis.orbit import Orbit, Source
from app.diagnosis.quality import shortcomings
from app.diagnosis.reasons import Reason, reason
from app.diagnosis.shifts import ShiftReport
from model_zoo.manifest import Manifest, QualityReference
from model_zoo.quality import Quality

NOTICE = "Research use only. Not a medical device: not for diagnosis or treatment decisions."

Label = Literal["metastasis", "no_metastasis"]
Decision = Literal["positive", "negative", "review", "not_assessable"]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelReport(_Part):
    name: str
    version: str
    sha256: str = Field(description="Of the artifact file: the model's identity.")
    microns_per_pixel: float | None = Field(
        None, description="The scale that the model expects; null in answers recorded before it was stated."
    )


class ConsistencyReport(_Part):
    """How far the answer depends on the patch's orientation; lists have one entry per group element."""

    group: str
    exact_subgroup: str
    exact: bool | None = Field(
        description="Whether the exact subgroup's turns agreed to the last bit in this request; "
        "null when that was not measured."
    )
    angles_deg: list[float]
    reflected: list[bool]
    probabilities: list[Probability | None] = Field(description="Of each turn by itself, whatever the basis.")
    source: list[Source]
    mean: Probability = Field(description="Over the known probabilities, as are the three figures that follow.")
    std: float
    max_deviation: float = Field(description="Largest distance of a probability from the mean.")
    label_agreement: Probability = Field(description="Share of elements whose label is the answer's.")
    limit: Probability = Field(description="Largest deviation that counts as consistent.")
    interpolation_floor: Probability = Field(description="What turning there and back changes by interpolation alone.")
    consistent: bool | None = Field(description="Null unless every element is known.")


class QualityReport(_Part):
    tissue_fraction: Probability
    sharpness: float
    stain_distance: float | None
    assessable: bool


class PatchReport(_Part):
    sha256: str = Field(description="Of the decoded RGB bytes.")
    format: Literal["PNG", "JPEG", "TIFF"]
    microns_per_pixel: float | None = Field(
        None, description="The scale that the request's `mpp` or else the file states; null if the scale is not stated."
    )


class Timing(_Part):
    """Milliseconds, without the record's commit."""

    decode: float
    quality: float
    infer: float
    total: float


class Answer(_Part):
    """What `POST /predict` answers and records."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID = Field(description="A version 7 UUID: ids rise with time.")
    created_at: AwareDatetime = Field(description="The id's own time.")
    model: ModelReport
    label: Label | None = Field(description="By the threshold of the basis; null when not assessable.")
    probability: Probability | None = Field(
        description="Calibrated probability of metastasis, of the basis; null when not assessable."
    )
    basis: Basis = Field(
        "single",
        description="What probability, label and decision are based on. `orbit`: the mean logits of all turns, where "
        "every element of the group is known and the model is calibrated for it. `single`: the patch as given.",
    )
    probability_at_prevalence: Probability | None = Field(
        None, description="The same where `prevalence` of the patches are positive; the decision does not use it."
    )
    prevalence: float | None = Field(
        None, description="What the administrator says of this site; null without it, or when not assessable."
    )
    logits: tuple[float, float] = Field(
        description="Of the patch as given, whatever the basis: shortest decimals that round-trip float32."
    )
    orbit_logits: tuple[float, float] | None = Field(
        None, description="Mean of the logits of all turns, float64; null for basis `single`."
    )
    decision: Decision
    reasons: list[Reason] = Field(description="Why the decision is review or not_assessable; else empty.")
    consistency: ConsistencyReport
    shifts: ShiftReport | None = Field(None, description="Null unless the request asked for it.")
    quality: QualityReport
    patch: PatchReport
    case_id: str | None = Field(None, description="What the request said, for the caller's bookkeeping.")
    slide_id: str | None = Field(None, description="The same.")
    timing_ms: Timing
    notice: str = NOTICE


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
    mean = fmean(probabilities)
    deviation = max(abs(p - mean) for p in probabilities)
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
        source=list(orbit.source),
        mean=mean,
        std=sqrt(fsum((p - mean) ** 2 for p in probabilities) / len(probabilities)),
        max_deviation=deviation,
        label_agreement=fmean(each == (label or labels[0]) for each in labels),
        limit=manifest.consistency.limit,
        interpolation_floor=manifest.consistency.interpolation_floor,
        consistent=deviation <= manifest.consistency.limit if None not in values else None,
    )


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


def shortest(logit: np.float32) -> float:
    """The shortest decimal that round-trips float32, as JSON will print it."""
    return float(str(logit))


def report(
    *,
    answer_id: UUID,
    created_at: datetime,
    manifest: Manifest,
    model: ModelReport,
    patch_sha256: str,
    patch_format: str,
    quality: Quality,
    orbit: Orbit,
    probabilities: list[float],
    timing_ms: dict[str, float],
    prevalence: float | None = None,
    shifts: ShiftReport | None = None,
    microns_per_pixel: float | None = None,
) -> Answer:
    """Put an answer together, validated as a whole.

    Args:
        probabilities: those of ``orbit.known``.
        timing_ms: the fields of ``Timing``.
        prevalence: the site's.
        shifts: if they were measured.
        microns_per_pixel: the patch's scale, if it is stated.
    """
    ground = ground_of(manifest, orbit, probabilities[0])
    label = label_of(ground.probability, ground.threshold)
    moved = None
    if not quality.assessable:
        prevalence = None
    if prevalence is not None:
        moved = at_prevalence(ground.probability, prevalence, ground.calibration.prevalence)
    consistency = consistency_report(manifest, orbit, probabilities, label)
    decision, reasons = decide(ground, consistency, quality, manifest.quality)
    return Answer.model_validate(
        {
            "id": answer_id,
            "created_at": created_at,
            "model": model,
            "label": label if quality.assessable else None,
            "probability": ground.probability if quality.assessable else None,
            "basis": ground.basis,
            "probability_at_prevalence": moved,
            "prevalence": prevalence,
            "logits": (shortest(orbit.logits[0, 0]), shortest(orbit.logits[0, 1])),
            "orbit_logits": ground.logits,
            "decision": decision,
            "reasons": reasons,
            "consistency": consistency,
            "shifts": shifts,
            "quality": {
                "tissue_fraction": quality.tissue_fraction,
                "sharpness": quality.sharpness,
                "stain_distance": quality.stain_distance,
                "assessable": quality.assessable,
            },
            "patch": {"sha256": patch_sha256, "format": patch_format, "microns_per_pixel": microns_per_pixel},
            "timing_ms": timing_ms,
        }
    )
