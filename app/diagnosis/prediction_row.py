"""An answer as a row of the table."""

from __future__ import annotations

from typing import Any

from app.diagnosis.report import Answer, NewAnswer
from model_zoo.orbit import Rotations
from model_zoo.reasons import codes
from model_zoo.shifts import Shifts

SHIFTED, NOT_SHIFTED = Shifts.REPORT.value, Shifts.NONE.value


def row(answer: NewAnswer | Answer, rotations: Rotations) -> dict[str, Any]:
    """The row's values by column, but for the answer's JSON and what is known of the request."""
    consistency, quality, patch = answer.consistency, answer.quality, answer.patch
    orbit_logits = answer.orbit_logits or (None, None)
    return {
        "id": str(answer.id),
        "created_at": answer.created_at,
        "model_name": answer.model.name,
        "model_version": answer.model.version,
        "model_sha256": answer.model.sha256,
        "patch_sha256": patch.sha256,
        "patch_format": patch.format,
        "case_id": answer.case_id,
        "slide_id": answer.slide_id,
        "rotations": rotations.value,
        "label": answer.label,
        "probability": answer.probability,
        "decision": answer.decision,
        "logit_no_metastasis": answer.logits[0],
        "logit_metastasis": answer.logits[1],
        "exact": consistency.exact,
        "max_deviation": consistency.max_deviation,
        "consistent": consistency.consistent,
        "tissue_fraction": quality.tissue_fraction,
        "sharpness": quality.sharpness,
        "stain_distance": quality.stain_distance,
        "assessable": quality.assessable,
        "total_ms": answer.timing_ms.total,
        "basis": answer.basis,
        "reason_codes": codes(answer.reasons),
        "orbit_logit_no_metastasis": orbit_logits[0],
        "orbit_logit_metastasis": orbit_logits[1],
        "shifts": SHIFTED if answer.shifts else NOT_SHIFTED,
        "shift_deviation": answer.shifts.max_deviation if answer.shifts else None,
        "microns_per_pixel": patch.microns_per_pixel,
    }
