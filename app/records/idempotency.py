"""Idempotency: repeats of a request with an ``Idempotency-Key`` get the first answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection, Row, Select, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from app.diagnosis.past import current
from app.problems import IdempotencyMismatch
from app.records.tables import idempotency, predictions

LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class Repeatable:
    """A request with an idempotency key.

    Attributes:
        key_id: the caller's.
        idempotency_key: the caller's name for the request.
        fingerprint: hash of everything that its answer depends on.
    """

    key_id: str
    idempotency_key: str
    fingerprint: str


def fingerprint(data: bytes, *parameters: str | None) -> str:
    """SHA-256, in hexadecimal, of a body and its parameters."""
    return sha256(json.dumps([sha256(data).hexdigest(), *parameters]).encode()).hexdigest()


def first_answer(connection: Connection, request: Repeatable) -> str | None:
    """The answer to the first such request of the last 24 hours; None if this is the first.

    Raises:
        IdempotencyMismatch: if that was another request.
    """
    query = _remembered(request).where(idempotency.c.created_at > _expired())
    row = connection.execute(query).one_or_none()
    return _answer(row, request) if row else None


def claim(connection: Connection, request: Repeatable, prediction_id: str) -> str | None:
    """Store a prediction as the answer to such requests, or return the stored one.

    Of concurrent requests one wins; the others wait here for its commit.

    Raises:
        IdempotencyMismatch: if that was another request.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"fingerprint": request.fingerprint, "prediction_id": prediction_id, "created_at": datetime.now(UTC)}
    claiming = (
        insert(idempotency)
        .values(key_id=request.key_id, idempotency_key=request.idempotency_key, **values)
        .on_conflict_do_update(
            index_elements=[idempotency.c.key_id, idempotency.c.idempotency_key],
            set_=values,
            where=idempotency.c.created_at <= _expired(),
        )
        .returning(idempotency.c.key_id)
    )
    if connection.execute(claiming).one_or_none():
        return None
    return _answer(connection.execute(_remembered(request)).one(), request)


def forget_expired(connection: Connection) -> None:
    """Delete keys older than 24 hours."""
    connection.execute(delete(idempotency).where(idempotency.c.created_at <= _expired()))


def _remembered(request: Repeatable) -> Select[tuple[str, str]]:
    return (
        select(idempotency.c.fingerprint, predictions.c.answer)
        .join(predictions, predictions.c.id == idempotency.c.prediction_id)
        .where(idempotency.c.key_id == request.key_id, idempotency.c.idempotency_key == request.idempotency_key)
    )


def _answer(row: Row[tuple[str, str]], request: Repeatable) -> str:
    if row.fingerprint != request.fingerprint:
        raise IdempotencyMismatch
    return current(row.answer)


def _expired() -> datetime:
    return datetime.now(UTC) - LIFETIME
