"""Detects jumps of the computer's clock; the last time seen is stored in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from app.records.tables import clock

JUMP = timedelta(days=7)


class ClockJumpedError(ValueError):
    """The clock is too far ahead of the last time seen."""


def look(connection: Connection, now: datetime) -> datetime | None:
    """Store the time and check it.

    A clock more than a week ahead of the last check has jumped, or the server was off. It is trusted again when it
    is set back, or when an administrator confirms it.

    Returns:
        The last time that was trusted; None if the clock is trusted.
    """
    row = connection.execute(select(clock)).one_or_none()
    if row is None:
        connection.execute(insert(clock), {"id": 1, "seen_at": now})
        return None
    seen_at: datetime = max(row.seen_at, now)
    trusted_at: datetime | None = row.trusted_at
    if trusted_at is None and now - row.seen_at > JUMP:
        trusted_at = row.seen_at
    elif trusted_at is not None and now - trusted_at <= JUMP:
        seen_at, trusted_at = now, None
    connection.execute(update(clock).values(seen_at=seen_at, trusted_at=trusted_at))
    return trusted_at


def trust(connection: Connection, now: datetime) -> None:
    """Trust the clock."""
    if connection.execute(update(clock).values(seen_at=now, trusted_at=None)).rowcount == 0:
        connection.execute(insert(clock), {"id": 1, "seen_at": now})
