"""Which predictions are meant, from query parameters."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AwareDatetime, BeforeValidator

from app.records.filters import Filter
from app.records.verdicts import State
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

IDENTIFIER = r"^[A-Za-z0-9._-]{1,64}$"
NAMES = ("since", "until", "model", "label", "decision", "patch", "case_id", "slide_id", "key", "reason", "state")


_BEGINS_WITH_A_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]")


def _iso(text: object) -> object:
    """Pydantic would take a bare number, such as a year, for seconds since 1970."""
    if isinstance(text, str) and not _BEGINS_WITH_A_DATE.match(text):
        raise ValueError("expected a time in ISO 8601 with its zone, such as 2030-01-31T12:00:00Z")
    return text


Time = Annotated[AwareDatetime, BeforeValidator(_iso)]


def _filter(
    since: Annotated[Time | None, Query(description="Answered at this time or later; ISO 8601 with its zone.")] = None,
    until: Annotated[Time | None, Query(description="Answered before this time.")] = None,
    model: Annotated[str | None, Query(pattern=r"^[a-z0-9-]{1,64}$", description="SHA-256 or name.")] = None,
    label: Label | None = None,
    decision: Decision | None = None,
    patch: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the RGB bytes.")] = None,
    case_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None,
    slide_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None,
    key: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,32}$", description="Id of the key that asked.")] = None,
    reason: Annotated[Code | None, Query(description="The code of one of its reasons.")] = None,
    state: Annotated[State | None, Query(description="Whether people have judged it.")] = None,
) -> Filter:
    return Filter(since, until, model, label, decision, patch, case_id, slide_id, key, reason, state)


Wanted = Annotated[Filter, Depends(_filter)]
