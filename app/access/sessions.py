"""Browser sessions: a random token in a cookie, its hash in the database; a session lives no longer than its key."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Lock

from sqlalchemy import Engine, delete, insert, or_, select, update

from app.access.caller import OWN_KEY_ID, Caller
from app.access.keys import Keys
from app.problems import RecordsUnavailable
from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import sessions

COOKIE = "rosette_session"
LONGEST = timedelta(hours=12)
SEEN_RESOLUTION = timedelta(minutes=1)
REMEMBERED = 4096


@dataclass(frozen=True)
class Session:
    """A signed-in person.

    Attributes:
        csrf: the token that every form and script request of this session must carry.
        opened_at: when the person signed in.
    """

    caller: Caller
    csrf: str
    opened_at: datetime


@dataclass(frozen=True)
class _Confirmed:
    """A confirmed session: time of the confirmation, and until when it is valid without another."""

    session: Session
    at: datetime
    until: datetime


class Sessions:
    """The sessions of one database.

    A session ends when its key is revoked or expires, ``idle_s`` after its last request, and 12 hours after its
    start; that of a person who signed in at an identity provider after ``people_s``, and when that provider is no
    longer the server's. While the database is unavailable, sessions confirmed within the grace period stay valid.
    Every method raises RecordsUnavailable when the database fails.

    Args:
        engine: the database.
        keys: the keys that open sessions.
        audit: records who signs in and out.
        idle_s: seconds without a request after which a session ends.
        clock: seconds since the epoch.
        grace_s: seconds after its last confirmation for which a session is valid while the database is unavailable.
        issuer: the identity provider whose people may have sessions; empty for none.
        people_s: seconds after which the session of such a person ends.
    """

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        audit: AuditTrail,
        idle_s: float,
        clock: Callable[[], float] = time.time,
        grace_s: float = 900,
        issuer: str = "",
        people_s: float = LONGEST.total_seconds(),
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._audit = audit
        self._idle = timedelta(seconds=idle_s)
        self._issuer = issuer
        self._longest_of_people = min(timedelta(seconds=people_s), LONGEST)
        self._grace = min(timedelta(seconds=grace_s), self._idle)
        self._clock = clock
        self._confirmed: OrderedDict[str, _Confirmed] = OrderedDict()
        self._lock = Lock()

    def open(self, caller: Caller) -> str:
        """Begin a session and return its token; also deletes ended sessions."""
        token, now = secrets.token_urlsafe(32), self._now()
        row = {
            "id": self._id(token, caller.key_id),
            "key_id": caller.key_id,
            "csrf": secrets.token_urlsafe(32),
            "created_at": now,
            "last_seen_at": now,
        }
        ended = or_(sessions.c.last_seen_at <= now - self._idle, sessions.c.created_at <= now - LONGEST)
        with self._audit.transaction() as connection:
            connection.execute(delete(sessions).where(ended))
            connection.execute(insert(sessions), row)
            self._audit.append(connection, caller.actor, Event("session.open", caller.key_id))
        return token

    def find(self, token: str) -> Session | None:
        """The session with this token; None if there is none, or it has ended."""
        name, now = self._ids(token)[0], self._now()
        try:
            confirmed = self._look_up(token, now)
        except RecordsUnavailable:
            with self._lock:
                remembered = self._confirmed.get(name)
            # A clock that was set back must not extend a session.
            if remembered is None or not remembered.at <= now < remembered.until:
                raise
            return remembered.session
        with self._lock:
            self._confirmed.pop(name, None)
            if confirmed is None:
                return None
            self._confirmed[name] = confirmed
            if len(self._confirmed) > REMEMBERED:
                self._confirmed.popitem(last=False)
        return confirmed.session

    def close(self, token: str, actor: Actor) -> None:
        """End the session with this token, if there is one."""
        with self._lock:
            self._confirmed.pop(self._ids(token)[0], None)
        ending = delete(sessions).where(sessions.c.id.in_(self._ids(token))).returning(sessions.c.key_id)
        with self._audit.transaction() as connection:
            for key_id in connection.execute(ending).scalars().all():
                self._audit.append(connection, actor, Event("session.close", key_id))

    def _look_up(self, token: str, now: datetime) -> _Confirmed | None:
        with transaction(self._engine) as connection:
            row = connection.execute(select(sessions).where(sessions.c.id.in_(self._ids(token)))).first()
        if row is None or now - row.last_seen_at >= self._idle or now - row.created_at >= LONGEST:
            return None
        verdict = self._keys.holder(row.key_id)
        if verdict is None or verdict.caller.issuer not in {"", self._issuer}:
            return None
        longest = self._longest_of_people if verdict.caller.issuer else LONGEST
        if now - row.created_at >= longest:
            return None
        if now - row.last_seen_at >= min(SEEN_RESOLUTION, self._idle / 10):
            # The pages still work with a read-only database.
            with suppress(RecordsUnavailable), transaction(self._engine) as connection:
                connection.execute(update(sessions).where(sessions.c.id == row.id).values(last_seen_at=now))
        until = min(now + self._grace, row.created_at + longest)
        if verdict.expires_at is not None:
            until = min(until, datetime.fromtimestamp(verdict.expires_at, UTC))
        return _Confirmed(Session(verdict.caller, row.csrf, row.created_at), now, until)

    def _ids(self, token: str) -> list[str]:
        bound = self._keys.bound_to_own(token.encode())
        return [sha256(token.encode()).hexdigest()] + ([bound] if bound else [])

    def _id(self, token: str, key_id: str) -> str:
        return self._ids(token)[-1] if key_id == OWN_KEY_ID else self._ids(token)[0]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
