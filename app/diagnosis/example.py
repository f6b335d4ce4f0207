"""The example answer of the documentation."""

from __future__ import annotations

from typing import Any

EXAMPLE: dict[str, Any] = {
    "id": "01a2093c-9772-76e4-af72-f6e896e1104f",
    "created_at": "2026-11-23T16:28:15.602000Z",
    "model": {"name": "accurate", "version": "1.0.0", "sha256": "b7e08fce" * 8, "microns_per_pixel": 0.97},
    "label": "metastasis",
    "probability": 0.8557754980807986,
    "basis": "orbit",
    "probability_at_prevalence": 0.39733358775867966,
    "prevalence": 0.1,
    "logits": [-1.5849904, 0.41475764],
    "orbit_logits": [-1.501246184110641, 0.3928173482418060],
    "decision": "positive",
    "reasons": [],
    "consistency": {
        "group": "C12",
        "exact_subgroup": "C4",
        "exact": True,
        "angles_deg": [30.0 * step for step in range(12)],
        "reflected": [False] * 12,
        "probabilities": [0.8676326460613037, 0.8757224005447588, 0.8244712034619075] * 4,
        "source": ["measured"] * 4 + (["implied"] * 2 + ["measured"]) * 2 + ["implied"] * 2,
        "mean": 0.85594208335599,
        "std": 0.022497010807089768,
        "max_deviation": 0.03147087989408248,
        "label_agreement": 1.0,
        "limit": 0.1,
        "interpolation_floor": 0.03,
        "consistent": True,
    },
    "shifts": {
        "offsets_px": [[0, 0], [-4, -4], [0, -4], [4, -4], [-4, 0], [4, 0], [-4, 4], [0, 4], [4, 4]],
        "probabilities": [0.8676326460613037, 0.8513, 0.8821, 0.8702, 0.8411, 0.8598, 0.8933, 0.8467, 0.8719],
        "max_deviation": 0.028407483770966246,
        "label_agreement": 1.0,
        "edges": "reflected",
    },
    "occlusion": {
        "square_px": 16,
        "fill": [176, 120, 171],
        "uncovered": 0.8676326460613037,
        "probabilities": [
            [0.8676, 0.8612, 0.8594, 0.8601, 0.8655, 0.8670],
            [0.8641, 0.8402, 0.8117, 0.8239, 0.8520, 0.8660],
        ]
        * 3,
    },
    "quality": {
        "tissue_fraction": 0.9868639380530974,
        "sharpness": 1802.9304610803197,
        "stain_distance": 0.993897486719173,
        "assessable": True,
    },
    "patch": {"sha256": "60cf4b55" * 8, "format": "PNG", "microns_per_pixel": 1.0},
    "case_id": "case-17",
    "slide_id": "case-17.2",
    "timing_ms": {"decode": 0.559, "quality": 0.391, "infer": 16.73, "total": 17.969},
    "notice": "Research use only. Not a medical device: not for diagnosis or treatment decisions.",
}
