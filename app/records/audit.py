"""The audit trail: who did what, each row carrying the hash of the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, text

from app.records.database import WRITE_FIRST, transaction
from app.records.tables import audit

ORIGIN = "0" * 64
_LOCK = 0x5265636F726473  # "Records": one advisory lock for all servers of a PostgreSQL database


@dataclass(frozen=True)
class Actor:
    """Who acts: a key's name and id, or what in the server, and from which address (empty for a command)."""

    who: str
    address: str = ""


SERVER = Actor("rosette")


@dataclass(frozen=True)
class Event:
    """What was done to what.

    Attributes:
        action: such as ``model.activate``.
        subject: id of the thing.
        before: what it was, as JSON; None if nothing.
        after: what it became.
    """

    action: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Entry:
    """A row of the trail; ``before`` and ``after`` are JSON texts, ``at`` is UTC in ISO 8601."""

    number: int
    at: str
    who: str
    address: str
    action: str
    subject: str
    before: str | None
    after: str | None
    previous: str
    hash: str

    def right_hash(self) -> str:
        """SHA-256 over every other column, the previous row's hash among them."""
        columns = [
            self.number, self.at, self.who, self.address, self.action, self.subject, self.before, self.after,
            self.previous,
        ]  # fmt: skip
        return sha256(json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Head:
    """The last row's number and hash; whoever keeps it elsewhere can find a cut tail."""

    number: int
    hash: str


class AuditTrail:
    """Appends to the trail, one writer at a time across all servers of a database.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that no other one of this kind overlaps, for a change and the row that tells of it."""
        with transaction(self._engine.execution_options(**WRITE_FIRST)) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def append(self, connection: Connection, actor: Actor, event: Event) -> Entry:
        """Append a row within :meth:`transaction`."""
        last = connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)).first()
        number, previous = (last.number + 1, last.hash) if last else (1, ORIGIN)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        texts = [None if side is None else json.dumps(side, ensure_ascii=False) for side in (event.before, event.after)]
        unsealed = Entry(
            number, at, actor.who, actor.address, event.action, event.subject, texts[0], texts[1], previous, ""
        )
        entry = Entry(**vars(unsealed) | {"hash": unsealed.right_hash()})
        connection.execute(insert(audit), vars(entry))
        return entry

    def record(self, actor: Actor, event: Event) -> Entry:
        """Append a row in a transaction of its own."""
        with self.transaction() as connection:
            return self.append(connection, actor, event)
