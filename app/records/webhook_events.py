"""What webhooks tell of, read from the log and the audit trail behind a cursor that the servers of a database share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, or_, select, update

from app.records.database import transaction
from app.records.filters import SHA256, first_id
from app.records.tables import audit, predictions, webhook_cursor

DECISIONS = ("review", "not_assessable")
ACTIONS = "model."
# Answers of all servers are committed by then, or in a journal.
SETTLED = timedelta(seconds=5)
OLDEST = timedelta(days=1)


@dataclass(frozen=True)
class WebhookEvent:
    """An event, without names and pseudonyms, and where the cursor stands behind it."""

    body: dict[str, Any]
    prediction_id: str | None = None
    audit_number: int | None = None


class WebhookEvents:
    """Reads events and moves the cursor; one server at a time holds it.

    Every method raises RecordsUnavailable when the database fails.

    Args:
        engine: the database.
        settled: age of the answers that are read; younger ones may still be joined by earlier ones.
    """

    def __init__(self, engine: Engine, settled: timedelta = SETTLED) -> None:
        self._engine = engine
        self._settled = settled
        self._holder = token_hex(8)
        self._audited = 0

    def next(self, most: int) -> list[WebhookEvent]:
        """At most so many events behind the cursor, none older than a day; changes of models first."""
        now = datetime.now(UTC)
        with transaction(self._engine) as connection:
            cursor = connection.execute(select(webhook_cursor)).one_or_none()
            if cursor is None:
                self._begin(connection, now)
                return []
            self._audited = max(self._audited, cursor.audit_number)
            changes, self._audited = _changes(connection, self._audited, now, most)
            if changes:
                return changes
            after = max(cursor.prediction_id, first_id(now - OLDEST))
            return _predictions(connection, after, first_id(now - self._settled), most)

    def hold(self, seconds: float) -> bool:
        """Take or keep the cursor for so long; False if another server has it."""
        now, table = datetime.now(UTC), webhook_cursor.c
        free = or_(table.holder == self._holder, table.held_until < now)
        taken = {"holder": self._holder, "held_until": now + timedelta(seconds=seconds)}
        with transaction(self._engine) as connection:
            return connection.execute(update(webhook_cursor).where(free).values(taken)).rowcount == 1

    def move(self, events: list[WebhookEvent]) -> None:
        """Put the cursor behind these events, if this server still holds it."""
        values: dict[str, Any] = {"held_until": datetime.now(UTC)}
        for event in events:
            if event.prediction_id is not None:
                values["prediction_id"] = event.prediction_id
            if event.audit_number is not None:
                values["audit_number"] = event.audit_number
        mine = webhook_cursor.c.holder == self._holder
        with transaction(self._engine) as connection:
            connection.execute(update(webhook_cursor).where(mine).values(values))

    def _begin(self, connection: Connection, now: datetime) -> None:
        """What was before webhooks were set is not told."""
        number = connection.execute(select(func.max(audit.c.number))).scalar() or 0
        row = {"id": 1, "prediction_id": first_id(now - self._settled), "audit_number": number}
        connection.execute(insert(webhook_cursor), row | {"holder": "", "held_until": now})


def _predictions(connection: Connection, after: str, before: str, most: int) -> list[WebhookEvent]:
    columns = predictions.c
    rows: list[Row[Any, Any, Any, Any, Any]] = []
    for decision in DECISIONS:  # each by its index
        query = select(columns.id, columns.created_at, columns.decision, columns.reason_codes, columns.model_sha256)
        query = query.where(columns.decision == decision, columns.id > after, columns.id < before)
        rows += connection.execute(query.order_by(columns.id).limit(most)).all()
    return [
        WebhookEvent(
            {
                "id": row.id,
                "type": f"prediction.{row.decision}",
                "at": row.created_at.isoformat(),
                "prediction_id": row.id,
                "decision": row.decision,
                "reasons": row.reason_codes.split(),
                "model": row.model_sha256,
            },
            prediction_id=row.id,
        )
        for row in sorted(rows, key=lambda row: row.id)[:most]
    ]


def _changes(connection: Connection, after: int, now: datetime, most: int) -> tuple[list[WebhookEvent], int]:
    """Changes of models, and the last number below which no further one waits."""
    columns = audit.c
    query = select(columns.number, columns.at, columns.action, columns.subject).where(columns.number > after)
    query = query.where(columns.action.startswith(ACTIONS, autoescape=True)).order_by(columns.number).limit(most)
    rows = connection.execute(query).all()
    oldest = (now - OLDEST).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    events = [
        WebhookEvent(
            {
                "id": f"audit-{row.number}",
                "type": row.action,
                "at": row.at,
                "model": row.subject if SHA256.fullmatch(row.subject) else None,
            },
            audit_number=row.number,
        )
        for row in rows
        if row.at >= oldest
    ]
    if events:
        return events, after
    last = rows[-1].number if len(rows) == most else connection.execute(select(func.max(columns.number))).scalar()
    return [], max(after, last or 0)
