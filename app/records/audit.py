"""The audit trail: administrative actions, each row with the hash of the previous one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Engine, insert, select, text

from app.records.database import WRITE_FIRST, transaction
from app.records.tables import audit

ORIGIN = "0" * 64
FETCHED = 100
HEAD = re.compile(r"(?P<number>[1-9][0-9]{0,17}):(?P<hash>[0-9a-f]{64})")
_LOCK = 0x5265636F726473  # "Records": one advisory lock for all servers of a PostgreSQL database


@dataclass(frozen=True)
class Actor:
    """The actor: a key's name and id, or a part of the server, and the address (empty for a command).

    Attributes:
        person: as ``who``, with the id of the key that the person had first; empty if that is the same.
    """

    who: str
    address: str = ""
    person: str = ""

    @property
    def reviewer(self) -> str:
        """Who judges: the same person whichever of their keys they use."""
        return self.person or self.who


SERVER = Actor("rosette")


@dataclass(frozen=True)
class Event:
    """An action on a subject.

    Attributes:
        action: such as ``model.activate``.
        subject: id of the subject.
        before: previous state, as JSON; None without one.
        after: new state.
    """

    action: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AuditRow:
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
        """SHA-256 of the other columns, the previous row's hash among them, as a JSON array in UTF-8 without spaces."""
        columns = [
            self.number, self.at, self.who, self.address, self.action, self.subject, self.before, self.after,
            self.previous,
        ]  # fmt: skip
        # SQLite can store bytes in a text column: such a manipulated row must be reported, not raise.
        return sha256(json.dumps(columns, ensure_ascii=False, separators=(",", ":"), default=repr).encode()).hexdigest()


@dataclass(frozen=True)
class TrailHead:
    """The last row's number and hash; a copy kept elsewhere reveals removed rows. Its text is ``NUMBER:HASH``."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a head.

        Raises:
            ValueError: if the text is not a head.
        """
        match = HEAD.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a head of an audit trail, expected NUMBER:HASH as `rosette audit head` prints"
            )
        return cls(int(match["number"]), match["hash"])


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        rows: number of valid rows, up to the first broken one.
        head: the last valid row; None if there is none.
        broken: description of the first broken row; None if the chain is complete.
    """

    rows: int
    head: TrailHead | None
    broken: str | None


@dataclass(frozen=True)
class TrailPage:
    """Rows, newest first, and the number to continue before, None on the last page."""

    entries: list[AuditRow]
    next: int | None


@dataclass(frozen=True)
class AuditFilter:
    """Which rows are shown; an empty text is no condition.

    Attributes:
        action: how the action begins, such as ``model`` or ``model.activate``.
        who, subject: what they contain, whatever the case of its letters.
    """

    action: str = ""
    who: str = ""
    subject: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions in SQL."""
        found = [audit.c.action.startswith(self.action, autoescape=True)] if self.action else []
        for column, part in ((audit.c.who, self.who), (audit.c.subject, self.subject)):
            if part:
                found.append(column.icontains(part, autoescape=True))
        return found


class AuditTrail:
    """Appends to the trail, one writer at a time across all servers of a database; reads and verifies it.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """An exclusive transaction for a change and its audit row."""
        with transaction(self._engine.execution_options(**WRITE_FIRST)) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def append(self, connection: Connection, actor: Actor, event: Event) -> AuditRow:
        """Append a row within :meth:`transaction`."""
        last = _head(connection)
        number, previous = (last.number + 1, last.hash) if last else (1, ORIGIN)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        texts = [None if side is None else json.dumps(side, ensure_ascii=False) for side in (event.before, event.after)]
        unsealed = AuditRow(
            number, at, actor.who, actor.address, event.action, event.subject, texts[0], texts[1], previous, ""
        )
        entry = AuditRow(**vars(unsealed) | {"hash": unsealed.right_hash()})
        connection.execute(insert(audit), vars(entry))
        return entry

    def record(self, actor: Actor, event: Event) -> AuditRow:
        """Append a row in a separate transaction."""
        with self.transaction() as connection:
            return self.append(connection, actor, event)

    def last(self, connection: Connection, action: str) -> AuditRow | None:
        """The last row of an action, seen from within :meth:`transaction`."""
        query = select(audit).where(audit.c.action == action).order_by(audit.c.number.desc()).limit(1)
        row = connection.execute(query).first()
        return AuditRow(*row) if row else None

    def head(self) -> TrailHead | None:
        """The last row's number and hash; None if there is no row."""
        with transaction(self._engine) as connection:
            return _head(connection)

    def page(self, limit: int, before: int | None = None, wanted: AuditFilter | None = None) -> TrailPage:
        """At most ``limit`` rows with numbers below ``before``, newest first; of all rows or of those that fit."""
        query = select(audit).order_by(audit.c.number.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(audit.c.number < before)
        for condition in wanted.conditions() if wanted else ():
            query = query.where(condition)
        with transaction(self._engine) as connection:
            entries = [AuditRow(*row) for row in connection.execute(query)]
        shown = entries[:limit]
        return TrailPage(shown, shown[-1].number if len(entries) > limit else None)

    def verify(self, head: TrailHead | None = None) -> Verification:
        """Verify the chain from its first row, in constant memory, up to the first broken row.

        Args:
            head: a head that was kept elsewhere; without one, removed last rows and a rewritten chain
                cannot be detected.
        """
        rows, last, broken = 0, None, None
        query = select(audit).order_by(audit.c.number)
        with (
            transaction(self._engine) as connection,
            connection.execute(query, execution_options={"yield_per": FETCHED}) as found,
        ):
            for entry in (AuditRow(*row) for row in found):
                broken = _broken(entry, last, head)
                if broken:
                    break
                rows, last = rows + 1, TrailHead(entry.number, entry.hash)
        if head and not broken and rows < head.number:
            broken = f"row {head.number} of the given head is missing: the rows after row {rows} were removed"
        return Verification(rows, last, broken)


def _head(connection: Connection) -> TrailHead | None:
    row = connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)).first()
    return TrailHead(*row) if row else None


def _broken(entry: AuditRow, last: TrailHead | None, head: TrailHead | None) -> str | None:
    """Why this row does not follow the last one, or contradicts the given head."""
    number, previous = (last.number + 1, last.hash) if last else (1, ORIGIN)
    if entry.number != number:
        return f"row {number} is missing: row {entry.number} stands in its place"
    if entry.hash != entry.right_hash():
        return f"row {number} was changed: its hash does not fit its columns"
    if entry.previous != previous:
        return f"row {number} follows another row {number - 1}: it carries another hash than that row has"
    if head and number == head.number and entry.hash != head.hash:
        return f"row {number} has another hash than the given head: this is another history"
    return None
