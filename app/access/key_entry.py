"""A row of the keys: a key without its secret, or a person who signs in at an identity provider."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from app.access.caller import Role


@dataclass(frozen=True)
class KeyEntry:
    """A key without its secret, or a person who signs in at an identity provider; times are UTC.

    Attributes:
        last_used_at: time of the last lookup in the database, to the minute.
        person: id of the first key of a person whose key it replaced; empty if it replaced none.
        issuer: the identity provider of a person, who has no secret here; empty for a key.
        subject: the person's id at the provider.
        signed_in_at: when the person last signed in.
    """

    id: str
    role: Role
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    person: str
    issuer: str = ""
    subject: str = ""
    signed_in_at: datetime | None = None

    def opens(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def summary(self) -> dict[str, Any]:
        """The key's entry in the audit trail."""
        about = {
            "role": self.role.value,
            "name": self.name,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "revoked_at": self.revoked_at.isoformat() if self.revoked_at else None,
        }
        return about | {"issuer": self.issuer, "subject": self.subject} if self.issuer else about


@dataclass(frozen=True)
class NewKey(KeyEntry):
    """A new key with its secret, which is not stored."""

    key: str = field(repr=False, kw_only=True)


def new_key() -> str:
    """A new secret."""
    return f"rsk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def describe_key(
    key: str, role: Role, name: str, now: datetime, expires_at: datetime | None = None, person: str = ""
) -> NewKey:
    """A new key with this secret."""
    return NewKey(
        id=key[4:16],
        role=role,
        name=name,
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
        person=person,
        key=key,
    )


def entry_of(row: Row[Any]) -> KeyEntry:
    """A key or a person from a row."""
    return KeyEntry(
        id=row.id,
        role=Role(row.role),
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        person=row.person or "",
        issuer=row.issuer or "",
        subject=row.subject or "",
        signed_in_at=row.signed_in_at,
    )
