"""The answer: what was measured, and the verdict that follows from it."""

from __future__ import annotations

from datetime import datetime
from math import fsum, log, log1p, sqrt
from statistics import fmean
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.diagnosis.example import EXAMPLE
from app.diagnosis.orbit import Orbit, Source
from app.diagnosis.quality import shortcomings
from model_zoo.manifest import Manifest
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
    """How far the answer depends on how the patch lay; lists have one entry per group element."""

    group: str
    exact_subgroup: str
    exact: bool | None = Field(
        description="Whether the exact subgroup's turns agreed to the last bit in this request; "
        "null when that was not measured."
    )
    angles_deg: list[float]
    reflected: list[bool]
    probabilities: list[Probability | None]
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
    label: Label | None = Field(description="By threshold; null when not assessable.")
    probability: Probability | None = Field(
        description="Calibrated probability of metastasis of the patch as given; null when not assessable."
    )
    probability_at_prevalence: Probability | None = Field(
        None, description="The same where `prevalence` of the patches are positive; the decision does not use it."
    )
    prevalence: float | None = Field(
        None, description="What the administrator says of this site; null without it, or when not assessable."
    )
    logits: tuple[float, float] = Field(description="Shortest decimals that round-trip float32.")
    decision: Decision
    reasons: list[str] = Field(description="Why the decision is review or not_assessable.")
    consistency: ConsistencyReport
    quality: QualityReport
    patch: PatchReport
    case_id: str | None = Field(None, description="What the request said, for the caller's bookkeeping.")
    slide_id: str | None = Field(None, description="The same.")
    timing_ms: Timing
    notice: str = NOTICE


def consistency_report(manifest: Manifest, orbit: Orbit, probabilities: list[float]) -> ConsistencyReport:
    """Summarize an orbit.

    Args:
        manifest: of the model that answered.
        orbit: what was measured.
        probabilities: calibrated, one for each of ``orbit.known``, the patch as given first.
    """
    mean = fmean(probabilities)
    deviation = max(abs(p - mean) for p in probabilities)
    label = label_of(probabilities[0], manifest)
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
        label_agreement=fmean(label_of(p, manifest) == label for p in probabilities),
        limit=manifest.consistency.limit,
        interpolation_floor=manifest.consistency.interpolation_floor,
        consistent=deviation <= manifest.consistency.limit if None not in values else None,
    )


def label_of(probability: float, manifest: Manifest) -> Label:
    return "metastasis" if probability >= manifest.threshold else "no_metastasis"


def decide(
    probability: float, consistency: ConsistencyReport, quality: Quality, manifest: Manifest
) -> tuple[Decision, list[str]]:
    """The decision and its reasons: guesswork is refused first, doubt is handed to a person next."""
    if not quality.assessable:
        return "not_assessable", shortcomings(quality, manifest.quality)
    low, high = manifest.review_band
    reasons = []
    if low <= probability <= high:
        reasons.append(f"probability in the review band {low:g} to {high:g}")
    if consistency.consistent is False:
        reasons.append(
            f"turning the patch moves the probability by {consistency.max_deviation:.2f} from the mean, "
            f"more than {consistency.limit:g}"
        )
    if reasons:
        return "review", reasons
    return ("positive" if label_of(probability, manifest) == "metastasis" else "negative"), []


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
    microns_per_pixel: float | None = None,
) -> Answer:
    """Put an answer together, validated as a whole.

    Args:
        probabilities: those of ``orbit.known``.
        timing_ms: the fields of ``Timing``.
        prevalence: the site's.
        microns_per_pixel: the patch's scale, if it is stated.
    """
    shifted = None
    if not quality.assessable:
        prevalence = None
    if prevalence is not None:
        shifted = at_prevalence(probabilities[0], prevalence, manifest.calibration.prevalence)
    consistency = consistency_report(manifest, orbit, probabilities)
    decision, reasons = decide(probabilities[0], consistency, quality, manifest)
    return Answer.model_validate(
        {
            "id": answer_id,
            "created_at": created_at,
            "model": model,
            "label": label_of(probabilities[0], manifest) if quality.assessable else None,
            "probability": probabilities[0] if quality.assessable else None,
            "probability_at_prevalence": shifted,
            "prevalence": prevalence,
            "logits": (shortest(orbit.logits[0, 0]), shortest(orbit.logits[0, 1])),
            "decision": decision,
            "reasons": reasons,
            "consistency": consistency,
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
