"""Deletes predictions after the retention period, with an audit row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from anyio import sleep, to_thread
from sqlalchemy import Engine, delete, select

from app.problems import RecordsUnavailable
from app.records import clock
from app.records.audit import SERVER, Actor, AuditTrail, Event
from app.records.clock import ClockJumpedError
from app.records.database import transaction
from app.records.filters import first_id
from app.records.idempotency import forget_expired
from app.records.tables import idempotency, patches, predictions, reviews, samples, shadow_scores, verdicts

ACTION = "predictions.retention"
CONFIRMED = "clock.confirm"
HOUR_S = 60 * 60.0
PAUSE_S = 0.1
MAX_ROWS = 1000

logger = logging.getLogger("rosette.records")


class Retention:
    """Deletes old predictions.

    Every method raises RecordsUnavailable when the database fails.

    Args:
        days: days for which predictions are kept; None without limit.
        now: the clock.
    """

    def __init__(
        self,
        engine: Engine,
        audit: AuditTrail,
        days: int | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._audit = audit
        self._days = days
        self._now = now

    def check_clock(self) -> datetime:
        """Store and return the time, also if nothing is to be deleted.

        Raises:
            ClockJumpedError: if it has jumped ahead; predictions would be deleted too early.
        """
        with self._audit.transaction() as connection:
            now = self._now()
            trusted_at = clock.look(connection, now)
        if trusted_at is not None:
            raise ClockJumpedError(
                f"the clock says {now:%Y-%m-%d %H:%M} UTC, more than a week after it was last seen at "
                f"{trusted_at:%Y-%m-%d %H:%M} UTC: set it right, or, if it is right and no server ran in between, "
                "run `rosette retention --confirm-clock`"
            )
        return now

    def confirm_clock(self, actor: Actor) -> None:
        """Trust the clock, although it has jumped."""
        with self._audit.transaction() as connection:
            clock.trust(connection, self._now())
            self._audit.append(connection, actor, Event(CONFIRMED, "clock"))

    def delete_some(self) -> int:
        """Delete the oldest predictions that are too old, at most 1000, with all dependent rows.

        The deletion and its audit row are one transaction.

        Returns:
            The number of deleted predictions.

        Raises:
            ClockJumpedError: as :meth:`check_clock`.
        """
        if self._days is None:
            return 0
        too_old = first_id(self.check_clock() - timedelta(days=self._days))
        columns = predictions.c
        query = select(columns.id, columns.created_at).where(columns.id < too_old).order_by(columns.id).limit(MAX_ROWS)
        with self._audit.transaction() as connection:
            found = connection.execute(query).all()
            if not found:
                return 0
            # These are the oldest ids, so the dependent rows are those with ids up to the last.
            for table in (patches, samples, verdicts, reviews, shadow_scores, idempotency):
                connection.execute(delete(table).where(table.c.prediction_id <= found[-1].id))
            connection.execute(delete(predictions).where(columns.id <= found[-1].id))
            oldest, newest = (found[end].created_at.isoformat() for end in (0, -1))
            after = {"deleted": len(found), "oldest": oldest, "newest": newest, "retention_days": self._days}
            self._audit.append(connection, SERVER, Event(ACTION, "predictions", after=after))
        return len(found)

    def forget_requests(self) -> None:
        """Delete expired idempotency keys."""
        with transaction(self._engine) as connection:
            forget_expired(connection)


async def keep_no_longer(retention: Retention, every_s: float = HOUR_S) -> None:
    """Delete old predictions now and then every ``every_s`` seconds, until cancelled."""
    while True:
        try:
            await to_thread.run_sync(retention.forget_requests)
            await to_thread.run_sync(retention.check_clock)
            while deleted := await to_thread.run_sync(retention.delete_some):
                logger.info("%s predictions were deleted: they were older than the retention period", deleted)
                await sleep(PAUSE_S)  # lets other writers of SQLite run
        except ClockJumpedError as error:
            logger.error("Old predictions are not deleted: %s", error)
        except RecordsUnavailable as problem:
            logger.warning("Old predictions cannot be deleted: %s", problem.detail)
        await sleep(every_s)
