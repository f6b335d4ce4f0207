"""Rotation of keys: a new key of the same role and name, beside which the old one is valid for some days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select, update

from app.access.key_entry import KeyEntry, NewKey, describe_key, entry_of, new_key
from app.access.keys import KEY_ID, NO_SUCH_KEY, Keys
from app.problems import HasNoKey, KeyReplaced, KeyRevoked, UnknownKey
from app.records.audit import Actor, AuditTrail, Event
from app.records.tables import keys

MAX_DAYS = 365


class KeyRotation:
    """Replaces keys, each in one transaction with its audit rows.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, audit: AuditTrail, of: Keys) -> None:
        self._audit = audit
        self._keys = of

    def rotate(self, key_id: str, days: int, actor: Actor) -> NewKey:
        """Make a new key and let the old one expire after so many days, or at its own expiry if that is earlier.

        The new key has the old one's role and name. If the old one expires, the new one is valid for as long as the old
        one was made for. Reviews by either are one person's.

        Raises:
            UnknownKey: if there is none.
            HasNoKey: if it is a person who signs in at an identity provider.
            KeyRevoked: if it was revoked or has expired.
            KeyReplaced: if it was replaced already by a key that is still valid.
        """
        if KEY_ID.fullmatch(key_id) is None:  # what PostgreSQL cannot store, it cannot look for
            raise UnknownKey(NO_SUCH_KEY)
        now = self._keys.now()
        with self._audit.transaction() as connection:
            row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
            if row is None:
                raise UnknownKey(NO_SUCH_KEY)
            before = entry_of(row)
            person = before.person or before.id
            later = select(keys).where(keys.c.person == person)
            check_replaceable(before, [entry_of(each) for each in connection.execute(later)], now)
            lifetime = before.expires_at - before.created_at if before.expires_at else None
            expires_at = now + lifetime if lifetime else None
            new = describe_key(new_key(), before.role, before.name, now, expires_at, person)
            ends = now + timedelta(days=days)
            after: KeyEntry = replace(before, expires_at=min(ends, before.expires_at or ends))
            self._keys.insert(connection, new, actor)
            connection.execute(update(keys).where(keys.c.id == key_id).values(expires_at=after.expires_at))
            summary = after.summary() | {"replaced_by": new.id}
            self._audit.append(connection, actor, Event("key.rotate", key_id, before.summary(), summary))
        return new


def check_replaceable(entry: KeyEntry, others: Iterable[KeyEntry], now: datetime) -> None:
    """Whether a key can be replaced.

    Args:
        others: among them all keys of the same person.

    Raises:
        HasNoKey, KeyRevoked, KeyReplaced: as :meth:`KeyRotation.rotate`.
    """
    if entry.issuer:
        raise HasNoKey(f"{entry.name} signs in at {entry.issuer} and has no key here: there is none to replace.")
    if not entry.opens(now):
        raise KeyRevoked(f"The key {entry.id} was revoked or has expired, so it cannot be replaced: create a key.")
    if newest := successor(entry, others, now):
        raise KeyReplaced(f"The key {entry.id} was replaced already: replace its successor, the key {newest.id}.")


def successor(entry: KeyEntry, others: Iterable[KeyEntry], now: datetime) -> KeyEntry | None:
    """The newest valid key that replaced this one, directly or through others; None if there is none."""
    person = entry.person or entry.id
    later = [each for each in others if each.person == person and each.created_at > entry.created_at]
    return max((each for each in later if each.opens(now)), key=lambda each: each.created_at, default=None)
