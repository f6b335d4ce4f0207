"""Predictions are deleted when the administrator keeps them no longer, and the audit trail says so."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from anyio import sleep, to_thread
from sqlalchemy import Engine, delete, select

from app.problems import RecordsUnavailable
from app.records.audit import SERVER, AuditTrail, Event
from app.records.database import transaction
from app.records.filters import first_id
from app.records.idempotency import forget_expired
from app.records.tables import idempotency, patches, predictions, reviews, shadow_scores

ACTION = "predictions.retention"
DAY_S = 24 * 60 * 60.0
PAUSE_S = 0.1
TOGETHER = 1000

logger = logging.getLogger("rosette.records")


class Retention:
    """Deletes what is too old.

    Every method raises RecordsUnavailable when the database fails.

    Args:
        days: for which predictions are kept; None for ever.
    """

    def __init__(self, engine: Engine, audit: AuditTrail, days: int | None) -> None:
        self._engine = engine
        self._audit = audit
        self._days = days

    def delete_some(self) -> int:
        """Delete the oldest predictions that are too old, 1000 at most, with all that hangs on them.

        They and the row of the audit trail that tells of them are one transaction.

        Returns:
            How many were deleted.
        """
        if self._days is None:
            return 0
        too_old = first_id(datetime.now(UTC) - timedelta(days=self._days))
        columns = predictions.c
        query = select(columns.id, columns.created_at).where(columns.id < too_old).order_by(columns.id).limit(TOGETHER)
        with self._audit.transaction() as connection:
            found = connection.execute(query).all()
            if not found:
                return 0
            # These are the oldest of all, so that what hangs on them is what hangs on ids up to the last.
            for table in (patches, reviews, shadow_scores, idempotency):
                connection.execute(delete(table).where(table.c.prediction_id <= found[-1].id))
            connection.execute(delete(predictions).where(columns.id <= found[-1].id))
            oldest, newest = (found[end].created_at.isoformat() for end in (0, -1))
            after = {"deleted": len(found), "oldest": oldest, "newest": newest, "retention_days": self._days}
            self._audit.append(connection, SERVER, Event(ACTION, "predictions", after=after))
        return len(found)

    def forget_requests(self) -> None:
        """Delete the idempotency keys that no longer count."""
        with transaction(self._engine) as connection:
            forget_expired(connection)


async def keep_no_longer(retention: Retention, every_s: float = DAY_S) -> None:
    """Delete what is too old at once and then every ``every_s`` seconds, until cancelled."""
    while True:
        try:
            await to_thread.run_sync(retention.forget_requests)
            while deleted := await to_thread.run_sync(retention.delete_some):
                logger.info("%s predictions were deleted: they were older than they are kept", deleted)
                await sleep(PAUSE_S)  # SQLite's other writers get their turn
        except RecordsUnavailable as problem:
            logger.warning("Old predictions cannot be deleted: %s", problem.detail)
        await sleep(every_s)
