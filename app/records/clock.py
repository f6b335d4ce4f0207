"""Whether the computer's clock can be trusted: the last time that was seen is kept in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from app.records.tables import clock

JUMP = timedelta(days=7)


class ClockJumpedError(ValueError):
    """The clock is further ahead of the last time that was seen than it may be."""


def look(connection: Connection, now: datetime) -> datetime | None:
    """Note the time.

    A clock that is more than a week ahead of the last look has jumped, or the server was off. It is trusted again when
    it has come back, or when an administrator says that it is right.

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
    """Take the clock for right."""
    if connection.execute(update(clock).values(seen_at=now, trusted_at=None)).rowcount == 0:
        connection.execute(insert(clock), {"id": 1, "seen_at": now})
