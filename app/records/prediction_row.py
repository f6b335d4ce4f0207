"""An answer as a row of the table."""

from __future__ import annotations

from typing import Any

from app.diagnosis.report import Answer
from model_zoo.orbit import Rotations
from model_zoo.reasons import codes
from model_zoo.shifts import Shifts


def row(answer: Answer, rotations: Rotations, key_id: str) -> dict[str, Any]:
    """The row's values by column; ``answer`` in it is the JSON."""
    return {
        "id": str(answer.id),
        "created_at": answer.created_at,
        "key_id": key_id,
        "model_name": answer.model.name,
        "model_version": answer.model.version,
        "model_sha256": answer.model.sha256,
        "patch_sha256": answer.patch.sha256,
        "patch_format": answer.patch.format,
        "case_id": answer.case_id,
        "slide_id": answer.slide_id,
        "rotations": rotations.value,
        "label": answer.label,
        "probability": answer.probability,
        "decision": answer.decision,
        "logit_no_metastasis": answer.logits[0],
        "logit_metastasis": answer.logits[1],
        "exact": answer.consistency.exact,
        "max_deviation": answer.consistency.max_deviation,
        "consistent": answer.consistency.consistent,
        "tissue_fraction": answer.quality.tissue_fraction,
        "sharpness": answer.quality.sharpness,
        "stain_distance": answer.quality.stain_distance,
        "assessable": answer.quality.assessable,
        "total_ms": answer.timing_ms.total,
        "answer": answer.model_dump_json(),
        "basis": answer.basis,
        "reason_codes": codes(answer.reasons),
        "orbit_logit_no_metastasis": answer.orbit_logits[0] if answer.orbit_logits else None,
        "orbit_logit_metastasis": answer.orbit_logits[1] if answer.orbit_logits else None,
        "shifts": (Shifts.REPORT if answer.shifts else Shifts.NONE).value,
        "shift_deviation": answer.shifts.max_deviation if answer.shifts else None,
        "microns_per_pixel": answer.patch.microns_per_pixel,
        "file_name": None,
    }
