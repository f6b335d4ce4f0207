"""Answers that earlier versions recorded, in today's shape; the rows stay as they are."""

from __future__ import annotations

import json
import re
from typing import Any

from app.diagnosis.report import Answer

# What every answer has had since reasons have codes. No text in an answer can hold it: quotes are escaped there.
_TODAY = '"basis":'

_NUMBER = r"(\d[\d.e+-]*)"
_REASONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (rf"probability in the review band {_NUMBER} to {_NUMBER}", "review_band", ("probability",)),
    (
        rf"turning the patch moves the probability by [\d.]+ from the mean, more than {_NUMBER}",
        "turning",
        ("consistency", "max_deviation"),
    ),
    (rf"tissue covers [\d.]+ of the disc, less than {_NUMBER}", "tissue", ("quality", "tissue_fraction")),
    (rf"sharpness [\d.e+-]+ is below {_NUMBER}", "sharpness", ("quality", "sharpness")),
    (rf"stain distance [\d.e+-]+ exceeds {_NUMBER}", "stain", ("quality", "stain_distance")),
    ("there is no tissue whose stain could be measured", "no_tissue", ()),
)


def current(text: str) -> str:
    """A recorded answer's JSON in today's shape; one of today's is returned as it is.

    Raises:
        ValueError: if it is no answer of any version.
    """
    return text if _TODAY in text else read(text).model_dump_json()


def read(text: str) -> Answer:
    """A recorded answer of any version.

    Raises:
        ValueError: if it is none.
    """
    if _TODAY in text:
        return Answer.model_validate_json(text)
    recorded = json.loads(text)
    reasons = [_converted(reason, recorded) for reason in recorded["reasons"]]
    return Answer.model_validate(recorded | {"reasons": reasons})


def _converted(text: str, recorded: dict[str, Any]) -> dict[str, Any]:
    """A reason from its recorded English, which stays its text; the value comes from the answer's own fields."""
    for pattern, code, path in _REASONS:
        if match := re.fullmatch(pattern, text):
            value: Any = recorded if path else None
            for name in path:
                value = value[name]
            limits = tuple(map(float, match.groups()))
            limit = limits if len(limits) > 1 else limits[0] if limits else None
            return {"code": code, "value": value, "limit": limit, "text": text}
    return {"code": "other", "value": None, "limit": None, "text": text}
