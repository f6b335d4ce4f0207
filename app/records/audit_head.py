"""Logs the audit trail's head: a copy outside of the database, to detect removed rows."""

from __future__ import annotations

import logging

from anyio import sleep, to_thread

from app.problems import RecordsUnavailable
from app.records.audit import AuditTrail

DAY_S = 24 * 60 * 60.0

logger = logging.getLogger("rosette.audit")


async def log_head(trail: AuditTrail, every_s: float = DAY_S) -> None:
    """Log the head now and then every ``every_s`` seconds, until cancelled."""
    while True:
        try:
            head = await to_thread.run_sync(trail.head)
            logger.info("The audit trail's head is %s", head or "missing: the trail is empty")
        except RecordsUnavailable as problem:
            logger.warning("The audit trail's head cannot be read: %s", problem.detail)
        await sleep(every_s)
