"""The answer: what was measured, and the verdict that follows from it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.diagnosis.example import EXAMPLE
from model_zoo.basis import Basis, ground_of
from model_zoo.decision import ConsistencyReport, Decision, Label, at_prevalence, consistency_report, decide, label_of
from model_zoo.manifest import Manifest
from model_zoo.notice import NOTICE
from model_zoo.occlusion import OcclusionReport
from model_zoo.orbit import Orbit
from model_zoo.quality import Quality
from model_zoo.reasons import Reason
from model_zoo.shifts import ShiftReport

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


class QualityReport(_Part):
    tissue_fraction: Probability
    sharpness: float
    stain_distance: float | None
    assessable: bool


class PatchReport(_Part):
    sha256: str = Field(description="Of the decoded RGB bytes.")
    format: Literal["PNG", "JPEG", "TIFF", "RAW"] = Field(description="`RAW`: it came as pixels, not as a file.")
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
    occlusion: OcclusionReport | None = Field(None, description="The same.")
    quality: QualityReport
    patch: PatchReport
    case_id: str | None = Field(None, description="What the request said, for the caller's bookkeeping.")
    slide_id: str | None = Field(None, description="The same.")
    timing_ms: Timing
    notice: str = NOTICE


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
    occlusion: OcclusionReport | None = None,
    microns_per_pixel: float | None = None,
) -> Answer:
    """Put an answer together, validated as a whole.

    Args:
        probabilities: those of ``orbit.known``.
        timing_ms: the fields of ``Timing``.
        prevalence: the site's.
        shifts: if they were measured.
        occlusion: the same.
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
            "occlusion": occlusion,
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
