"""Filters of predictions."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, literal, or_, select

from app.records.tables import predictions, reviews, verdicts
from model_zoo.reasons import DECISION_OF

SHA256 = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Scope:
    """The answers that a key may read: its own, and with ``cases`` also all of the cases that it asked about."""

    key_id: str
    cases: bool = False

    def condition(self) -> ColumnElement[bool]:
        own = predictions.c.key_id == self.key_id
        if not self.cases:
            return own
        asked = predictions.alias("asked")
        cases = select(asked.c.case_id).where(asked.c.key_id == self.key_id, asked.c.case_id.is_not(None))
        return or_(own, predictions.c.case_id.in_(cases))


@dataclass(frozen=True)
class Filter:
    """The conditions that a prediction must match; None for no condition.

    Attributes:
        since: not answered before this aware time.
        until: answered before this aware time.
        model: SHA-256 or name.
        patch: SHA-256 of the decoded RGB bytes.
        key: id of the key that asked.
        reason: code of one of its reasons.
        state: whether people have judged it, as in app/records/verdicts.py.
        unread_by: not yet judged by this person.
        uncased: without a case.
        scope: the answers that may be read.
    """

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    label: str | None = None
    decision: str | None = None
    patch: str | None = None
    case_id: str | None = None
    slide_id: str | None = None
    key: str | None = None
    reason: str | None = None
    state: str | None = None
    unread_by: str | None = None
    uncased: bool | None = None
    scope: Scope | None = None

    def conditions(self, after: str = "", before: str | None = None) -> list[ColumnElement[bool]]:
        """The conditions in SQL, and between two ids. Ids contain the time, so every index supports time ranges.

        Of two bounds on the same side only the tighter one is used: SQLite would scan the rows between them.
        """
        columns = predictions.c
        model = columns.model_sha256 if SHA256.fullmatch(self.model or "") else columns.model_name
        equal = [
            (model, self.model),
            (columns.label, self.label),
            (columns.decision, self.decision),
            (columns.patch_sha256, self.patch),
            (columns.case_id, self.case_id),
            (columns.slide_id, self.slide_id),
            (columns.key_id, self.key),
        ]
        found: list[ColumnElement[bool]] = [column == value for column, value in equal if value is not None]
        if self.reason is not None:
            found += _has_reason(self.reason)
        if self.state is not None:
            found.append(_in_state(self.state))
        if self.unread_by is not None:
            read = select(reviews.c.prediction_id).where(reviews.c.reviewer == self.unread_by)
            found.append(columns.id.not_in(read))
        if self.uncased:
            found.append(columns.case_id.is_(None))
        if self.scope is not None:
            found.append(self.scope.condition())
        first = "" if self.since is None else first_id(self.since)
        if after and after >= first:
            found.append(columns.id > after)
        elif first:
            found.append(columns.id >= first)
        ends = [end for end in (before, self.until and first_id(self.until)) if end is not None]
        if ends:
            found.append(columns.id < min(ends))
        return found

    def described(self) -> dict[str, str]:
        """The conditions as JSON, times in ISO 8601."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scope"}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
            if value is not None
        }


EVERYTHING = Filter()


def _in_state(state: str) -> ColumnElement[bool]:
    column = verdicts.c.prediction_id
    if state == "open":  # also those that nobody has reviewed
        return predictions.c.id.not_in(select(column).where(verdicts.c.state.in_(("judged", "disagreed"))))
    return predictions.c.id.in_(select(column).where(verdicts.c.state == state))


def _has_reason(code: str) -> list[ColumnElement[bool]]:
    """The index by decision also has the codes, so rows of other decisions are not read."""
    columns = predictions.c
    spaced = literal(" ").concat(columns.reason_codes).concat(" ")
    found: list[ColumnElement[bool]] = [spaced.contains(f" {code} ", autoescape=True)]
    if code in DECISION_OF:
        found.append(columns.decision == DECISION_OF[code])
    return found


def first_id(moment: datetime) -> str:
    """The lower bound of ids of answers from ``moment`` (aware) on; earlier answers have lower ids."""
    milliseconds = max(0, -((_EPOCH - moment) // _MILLISECOND))
    return str(UUID(int=milliseconds << 80))


def moment_of(prediction_id: str) -> datetime:
    """The time in an id, UTC, to the millisecond."""
    return _EPOCH + (UUID(prediction_id).int >> 80) * _MILLISECOND
