"""An answer on its way into the log."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.dialects import postgresql, sqlite

from app.diagnosis.past import current, read
from app.problems import IdempotencyMismatch
from app.records.idempotency import Repeatable, claim
from app.records.tables import patches, predictions
from model_zoo.reasons import codes


@dataclass(frozen=True)
class Recorded:
    """The JSON that may leave, and whether it is that of an earlier request."""

    text: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A row of the table, the request that it answers if that may be sent again, and the image file if it is kept."""

    values: dict[str, Any]
    request: Repeatable | None = None
    patch: bytes | None = None

    @property
    def id(self) -> str:
        prediction_id: str = self.values["id"]
        return prediction_id

    @property
    def text(self) -> str:
        """The answer's JSON."""
        return current(self.values["answer"])

    def to_json(self) -> str:
        """One line."""
        values = self.values | {"created_at": self.values["created_at"].isoformat()}
        request = asdict(self.request) if self.request else None
        patch = b64encode(self.patch).decode() if self.patch is not None else None
        return json.dumps({"values": values, "request": request, "patch": patch})

    @classmethod
    def from_json(cls, line: str) -> LogEntry:
        """What :meth:`to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: if it is something else.
        """
        parts = json.loads(line)
        values = _completed(parts["values"]) | {"created_at": datetime.fromisoformat(parts["values"]["created_at"])}
        request = Repeatable(**parts["request"]) if parts["request"] else None
        return cls(values, request, b64decode(parts["patch"]) if parts["patch"] is not None else None)


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """A row that may have been journalled before 0006 or 0010, with the columns that came then."""
    values = {"file_name": None} | values
    if "basis" in values:
        return values
    added: dict[str, Any] = dict.fromkeys(
        ("orbit_logit_no_metastasis", "orbit_logit_metastasis", "shift_deviation", "microns_per_pixel")
    )
    reason_codes = codes(read(values["answer"]).reasons)
    return values | added | {"basis": "single", "reason_codes": reason_codes, "shifts": "none"}


def insert_new(connection: Connection, entries: Sequence[LogEntry]) -> list[Recorded | IdempotencyMismatch]:
    """Insert entries, but of those that answer the same request only the first; gives what each request gets.

    Servers that insert at the same time claim requests in the same order, so that none waits for another in a circle.
    """
    results: dict[str, Recorded | IdempotencyMismatch] = {}
    kept = [entry for entry in entries if entry.request is None]
    for entry in sorted((entry for entry in entries if entry.request), key=_request_order):
        assert entry.request is not None
        try:
            first = claim(connection, entry.request, entry.id)
        except IdempotencyMismatch as mismatch:
            results[entry.id] = mismatch
            continue
        if first is not None:
            results[entry.id] = Recorded(first, replayed=True)
            continue
        connection.execute(insert(predictions), entry.values)  # at once: the next may be a repeat of it
        kept.append(entry)
        results[entry.id] = Recorded(entry.text)
    if plain := [entry.values for entry in entries if entry.request is None]:
        connection.execute(insert(predictions), plain)
    if images := _patches(kept):
        connection.execute(insert(patches), images)
    return [results.get(entry.id) or Recorded(entry.text) for entry in entries]


def insert_missing(connection: Connection, entries: list[LogEntry]) -> None:
    """Insert entries that were answered already, unless they are there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [entry.values for entry in entries]
    connection.execute(dialect.insert(predictions).on_conflict_do_nothing(index_elements=[predictions.c.id]), rows)
    if images := _patches(entries):
        connection.execute(
            dialect.insert(patches).on_conflict_do_nothing(index_elements=[patches.c.prediction_id]), images
        )
    for entry in sorted((entry for entry in entries if entry.request), key=_request_order):
        assert entry.request is not None
        with suppress(IdempotencyMismatch):  # both were answered while nobody could know; both stay
            claim(connection, entry.request, entry.id)


def _patches(entries: list[LogEntry]) -> list[dict[str, Any]]:
    return [{"prediction_id": entry.id, "data": entry.patch} for entry in entries if entry.patch is not None]


def _request_order(entry: LogEntry) -> tuple[str, str]:
    assert entry.request is not None
    return entry.request.key_id, entry.request.idempotency_key
