"""The audit trail's head in the server's log: a copy outside the database, by which a cut tail is found."""

from __future__ import annotations

import logging

from anyio import sleep, to_thread

from app.problems import RecordsUnavailable
from app.records.audit import AuditTrail

DAY_S = 24 * 60 * 60.0

logger = logging.getLogger("rosette.audit")


async def log_head(trail: AuditTrail, every_s: float = DAY_S) -> None:
    """Log the head at once and then every ``every_s`` seconds, until cancelled."""
    while True:
        try:
            head = await to_thread.run_sync(trail.head)
            logger.info("The audit trail's head is %s", head or "missing: the trail is empty")
        except RecordsUnavailable as problem:
            logger.warning("The audit trail's head cannot be read: %s", problem.detail)
        await sleep(every_s)
