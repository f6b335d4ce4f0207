"""The answer: what was measured, and the decision that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
from msgspec import Struct
from msgspec.json import Encoder
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


_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_encoder = Encoder()


@dataclass(frozen=True, slots=True)
class ModelReport:
    __pydantic_config__ = _STRICT

    name: str
    version: str
    sha256: Annotated[str, Field(description="Of the artifact file: the model's identity.")]
    microns_per_pixel: Annotated[
        float | None,
        Field(description="The scale that the model expects; null in answers recorded before it was stated."),
    ] = None


@dataclass(slots=True)
class QualityReport:
    __pydantic_config__ = _STRICT

    tissue_fraction: Probability
    sharpness: float
    stain_distance: float | None
    assessable: bool


@dataclass(slots=True)
class PatchReport:
    __pydantic_config__ = _STRICT

    sha256: Annotated[str, Field(description="Of the decoded RGB bytes.")]
    format: Annotated[
        Literal["PNG", "JPEG", "TIFF", "RAW"], Field(description="`RAW`: it came as pixels, not as a file.")
    ]
    microns_per_pixel: Annotated[
        float | None,
        Field(
            description="The scale that the request's `mpp` or else the file states; null if the scale is not stated."
        ),
    ] = None


@dataclass(slots=True)
class Timing:
    """Milliseconds, without the record's commit."""

    __pydantic_config__ = _STRICT

    decode: float
    quality: float
    infer: float
    total: float


class Answer(BaseModel):
    """What `POST /predict` answers and records."""

    model_config = ConfigDict(**_STRICT, frozen=True, json_schema_extra={"examples": [EXAMPLE]})

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


class NewAnswer(Struct, kw_only=True):
    """An answer that was just computed, with the fields of :class:`Answer`, which describes them.

    It is not validated: its JSON costs a third of what pydantic takes after an inference, which sweeps the caches.
    """

    id: str
    created_at: datetime
    model: ModelReport
    label: Label | None
    probability: Probability | None
    basis: Basis
    probability_at_prevalence: Probability | None
    prevalence: float | None
    logits: tuple[float, float]
    orbit_logits: tuple[float, float] | None
    decision: Decision
    reasons: list[Reason]
    consistency: ConsistencyReport
    shifts: ShiftReport | None
    occlusion: OcclusionReport | None
    quality: Quality
    patch: PatchReport
    case_id: str | None = None
    slide_id: str | None = None
    timing_ms: Timing
    notice: str = NOTICE

    def to_json(self) -> bytes:
        """The same bytes as those of :class:`Answer`."""
        return _encoder.encode(self)


def shortest(logit: np.float32) -> float:
    """The shortest decimal that round-trips float32, as JSON will print it."""
    return float(str(logit))


def report(
    *,
    answer_id: str,
    created_at: datetime,
    manifest: Manifest,
    model: ModelReport,
    patch: PatchReport,
    quality: Quality,
    orbit: Orbit,
    probabilities: list[float],
    timing_ms: Timing,
    prevalence: float | None = None,
    shifts: ShiftReport | None = None,
    occlusion: OcclusionReport | None = None,
) -> NewAnswer:
    """Put an answer together.

    Args:
        probabilities: those of ``orbit.known``.
        prevalence: the site's.
        shifts: if they were measured.
        occlusion: the same.

    Raises:
        ValueError: if a number is not finite, which JSON cannot hold.
    """
    ground = ground_of(manifest, orbit, probabilities[0])
    label = label_of(ground.probability, ground.threshold)
    moved = None
    if not quality.assessable:
        prevalence = None
    if prevalence is not None:
        moved = at_prevalence(ground.probability, prevalence, ground.calibration.prevalence)
    logits = shortest(orbit.logits[0, 0]), shortest(orbit.logits[0, 1])
    if not isfinite(sum((*logits, *probabilities, quality.sharpness, quality.stain_distance or 0.0, moved or 0.0))):
        raise ValueError(f"the model {model.name} {model.version} answered with what is no finite number")
    consistency = consistency_report(manifest, orbit, probabilities, label)
    decision, reasons = decide(ground, consistency, quality, manifest.quality)
    return NewAnswer(
        id=answer_id,
        created_at=created_at,
        model=model,
        label=label if quality.assessable else None,
        probability=ground.probability if quality.assessable else None,
        basis=ground.basis,
        probability_at_prevalence=moved,
        prevalence=prevalence,
        logits=logits,
        orbit_logits=ground.logits,
        decision=decision,
        reasons=reasons,
        consistency=consistency,
        shifts=shifts,
        occlusion=occlusion,
        quality=quality,
        patch=patch,
        timing_ms=timing_ms,
    )
