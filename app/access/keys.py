"""Keys: created here, shown once, stored as SHA-256, found by id, compared in constant time."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, select, update

from app.access.caller import OWN_KEY_ID, Caller, Role
from app.access.key_cache import FRESH_S, CachedKey, KeyCache
from app.access.key_entry import KeyEntry, NewKey, describe_key, entry_of, new_key
from app.problems import InvalidParameter, KeyRevoked, LastAdminKey, RecordsUnavailable, UnknownKey
from app.records.audit import SERVER, Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import keys

KEY_ID = re.compile("[0-9a-f]{12}")
_KEY = re.compile(rf"rsk_(?P<id>{KEY_ID.pattern})_[A-Za-z0-9_-]{{43}}")
NO_SUCH_KEY = "There is no key with this id: list the keys to see their ids."
_NOBODY = "0" * 64
NAME_LENGTH = 120
RETRY_S = 5.0
USE_RESOLUTION = timedelta(minutes=1)
LONGEST = timedelta(days=36_525)


class Keys:
    """The keys of one database, and the administrator's own key from the settings, if any.

    A confirmed key is cached for 60 seconds, and while the database is unavailable for the grace period. A revocation
    through this object takes effect at once.

    Every method but :meth:`known`, :meth:`remembered` and :meth:`trusted` raises RecordsUnavailable when the database
    fails.

    Args:
        engine: the database.
        audit: records created and revoked keys.
        own_key: the administrator's own key.
        grace_s: seconds after its last confirmation for which a key is accepted while the database is unavailable.
        clock: seconds since the epoch.

    Attributes:
        cache: the keys that were confirmed lately.
    """

    def __init__(
        self,
        engine: Engine,
        audit: AuditTrail,
        own_key: str | None = None,
        grace_s: float = 900,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._audit = audit
        self._own = _digest(own_key.encode()) if own_key is not None else None
        self._clock = clock
        self.cache = KeyCache(grace_s, clock)

    def known(self, presented: bytes) -> Caller | None:
        """The caller, if the key was confirmed within 60 seconds; takes microseconds."""
        return self.cache.known(presented)

    def remembered(self, presented: bytes) -> bool:
        """Whether the key was confirmed within the grace period, so that it is not a guess."""
        return self.cache.find(_digest(presented), self._clock()) is not None

    def caller(self, presented: bytes) -> Caller | None:
        """The caller; None for an unknown key. Queries the database if :meth:`known` returns None."""
        known = self.known(presented)
        if known is not None:
            return known
        digest, revocations = _digest(presented), self.cache.revocations
        try:
            verdict = self._look_up(presented, digest)
        except RecordsUnavailable:
            if (trusted := self.trusted(presented)) is None:
                raise
            return trusted
        if verdict is None:
            self.cache.drop(digest)
            return None
        self.cache.keep(digest, verdict, revocations)
        return verdict.caller

    def trusted(self, presented: bytes) -> Caller | None:
        """The caller, if confirmed within the grace period; then valid for 5 seconds without a query."""
        digest, now, revocations = _digest(presented), self._clock(), self.cache.revocations
        remembered = self.cache.find(digest, now)
        if remembered is None:
            return None
        self.cache.keep(digest, replace(remembered, fresh_until=now + RETRY_S), revocations)
        return remembered.caller

    def holder(self, key_id: str) -> CachedKey | None:
        """The verdict on the key with this id; None if it is not valid. Always queries the database."""
        now = self._clock()
        if key_id == OWN_KEY_ID:
            return None if self._own is None else _own_verdict(now)
        with transaction(self._engine) as connection:
            row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
        return self._verdict(entry_of(row), now) if row else None

    def bound_to_own(self, token: bytes) -> str | None:
        """HMAC-SHA-256 of a session's token under the administrator's own key; None without an own key."""
        return None if self._own is None else hmac.new(self._own.encode(), token, sha256).hexdigest()

    def add(self, role: Role, name: str, actor: Actor, expires_at: datetime | None = None) -> NewKey:
        """Create a key.

        Args:
            role: its role.
            name: the person or machine that it is for, 1 to 120 printable characters.
            actor: who creates it.
            expires_at: time of expiry, at most 100 years ahead.

        Raises:
            InvalidParameter: if the name is invalid, or the expiry is past, too far or without a time zone.
        """
        name = _checked_name(name)
        now = self.now()
        if expires_at is not None:
            expires_at = _checked_expiry(expires_at, now)
        made = describe_key(new_key(), role, name, now, expires_at)
        with self._audit.transaction() as connection:
            self.insert(connection, made, actor)
        return made

    def revoke(self, key_id: str, actor: Actor) -> KeyEntry:
        """Revoke a key, or disable a person: here at once, on other servers within 60 seconds.

        Raises:
            UnknownKey: if there is none with this id.
            KeyRevoked: if it is revoked already.
            LastAdminKey: if no other valid admin key would be left.
        """
        try:
            with self._audit.transaction() as connection:
                return self._revoke(connection, key_id, actor)
        finally:
            self.cache.revoke(key_id)

    def listing(self) -> list[KeyEntry]:
        """Every key, oldest first."""
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        with transaction(self._engine) as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def ensure_admin(self, home: Path) -> Path | None:
        """Without a valid admin key, create the first one and write it to ``admin.key``.

        Returns the file, mode 0600, or None when it was not needed. A key in an existing file is adopted, to complete
        a start that was killed between writing the file and the row.

        Raises:
            ValueError: if an existing file contains no key.
        """
        if self._own is not None:
            return None
        file = home / "admin.key"
        with self._audit.transaction() as connection:
            if connection.execute(select(func.count()).where(keys.c.issuer.is_(None))).scalar_one():
                return None
            if not file.exists():
                _write_secret(file, new_key())
            key = file.read_text(encoding="ascii").strip()
            if _KEY.fullmatch(key) is None:
                raise ValueError(f"{file} contains no Rosette key, and the database has none: move it away and restart")
            self.insert(connection, describe_key(key, Role.ADMIN, "first admin key", self.now()), SERVER)
        return file

    def _look_up(self, presented: bytes, digest: str) -> CachedKey | None:
        now = self._clock()
        if self._own is not None and hmac.compare_digest(self._own, digest):
            return _own_verdict(now)
        match = _KEY.fullmatch(presented.decode("latin-1"))
        if match is None:
            return None
        with transaction(self._engine) as connection:
            # A person's row has no secret, so no key opens it.
            holds = keys.c.id == match["id"], keys.c.sha256.is_not(None), keys.c.issuer.is_(None)
            row = connection.execute(select(keys).where(*holds)).one_or_none()
        if not hmac.compare_digest(row.sha256 if row else _NOBODY, digest) or row is None:
            return None
        return self._verdict(entry_of(row), now)

    def _verdict(self, entry: KeyEntry, now: float) -> CachedKey | None:
        """The key's row as a verdict; also stores the time of use."""
        if not entry.opens(datetime.fromtimestamp(now, UTC)):
            return None
        self._note_use(entry)
        expires_at = entry.expires_at.timestamp() if entry.expires_at else None
        caller = Caller(entry.id, entry.role, entry.name, person=entry.person, issuer=entry.issuer)
        return CachedKey(caller, expires_at, now, now + FRESH_S)

    def _note_use(self, entry: KeyEntry) -> None:
        now = self.now()
        if entry.last_used_at and now - entry.last_used_at < USE_RESOLUTION:
            return
        change = update(keys).where(keys.c.id == entry.id).values(last_used_at=now)
        # A read-only database still confirms keys.
        with suppress(RecordsUnavailable), transaction(self._engine) as connection:
            connection.execute(change)

    def insert(self, connection: Connection, made: NewKey, actor: Actor) -> None:
        """Insert a key with its audit row, within a transaction of the audit trail."""
        row = {
            "id": made.id,
            "sha256": _digest(made.key.encode()),
            "role": made.role.value,
            "name": made.name,
            "created_at": made.created_at,
            "expires_at": made.expires_at,
            "person": made.person or None,
        }
        connection.execute(insert(keys), row)
        self._audit.append(connection, actor, Event("key.create", made.id, after=made.summary()))

    def _revoke(self, connection: Connection, key_id: str, actor: Actor) -> KeyEntry:
        now = self.now()
        entries = {row.id: entry_of(row) for row in connection.execute(select(keys))}
        before = entries.get(key_id)
        if before is None:
            raise UnknownKey(NO_SUCH_KEY)
        if before.revoked_at:
            raise KeyRevoked(f"The key {key_id} was revoked at {before.revoked_at:%Y-%m-%d %H:%M:%S} UTC.")
        # People need the identity provider to sign in, so they do not count.
        admins = {
            entry.id for entry in entries.values() if entry.role is Role.ADMIN and entry.opens(now) and not entry.issuer
        }
        if admins == {key_id} and self._own is None:
            raise LastAdminKey(f"Without the key {key_id} no valid admin key would be left: create another one first.")
        after = replace(before, revoked_at=now)
        connection.execute(update(keys).where(keys.c.id == key_id).values(revoked_at=now))
        self._audit.append(connection, actor, Event("key.revoke", key_id, before.summary(), after.summary()))
        return after

    def now(self) -> datetime:
        """The time by the clock of the keys."""
        return datetime.fromtimestamp(self._clock(), UTC)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise InvalidParameter(
            f"The name has {len(name)} characters, expected 1 to {NAME_LENGTH} printable ones: "
            "name the person or machine that the key is for."
        )
    return name


def _checked_expiry(expires_at: datetime, now: datetime) -> datetime:
    if expires_at.tzinfo is None:
        raise InvalidParameter("The expiry has no time zone, expected one such as 2030-01-31T12:00:00Z.")
    if not timedelta(0) < expires_at - now <= LONGEST:
        raise InvalidParameter(f"The expiry {expires_at.isoformat()} does not lie within the next 100 years.")
    return expires_at.astimezone(UTC)


def _own_verdict(now: float) -> CachedKey:
    return CachedKey(Caller(OWN_KEY_ID, Role.ADMIN, OWN_KEY_ID), None, now, now + FRESH_S)


def _digest(key: bytes) -> str:
    return sha256(key).hexdigest()


def _write_secret(file: Path, text: str) -> None:
    """Create a file of mode 0600 atomically, or keep an existing one."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        draft.unlink()
