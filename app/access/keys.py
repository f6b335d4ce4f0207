"""Keys: made here, shown once, stored as SHA-256, found by id, compared in constant time."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, insert, select, update

from app.records.database import WRITE_FIRST, transaction
from app.records.tables import keys

_KEY = re.compile(r"rsk_(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = "0" * 64
OWN_KEY_ID = "settings"


class Role(StrEnum):
    """What a key may do: ``admin`` everything, ``read`` see all predictions, ``predict`` ask and see its own."""

    PREDICT = "predict"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Whose key came with a request."""

    key_id: str
    role: Role


@dataclass(frozen=True)
class KeyEntry:
    """What is known of a key, except the key."""

    id: str
    role: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """The keys of one database, and the administrator's own key from the settings, if any.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, own_key: str | None = None) -> None:
        self._engine = engine
        self._own = sha256(own_key.encode()).hexdigest() if own_key is not None else None

    def caller(self, presented: bytes) -> Caller | None:
        """Whose key this is; None if it is nobody's."""
        digest = sha256(presented).hexdigest()
        if self._own is not None and hmac.compare_digest(self._own, digest):
            return Caller(OWN_KEY_ID, Role.ADMIN)
        match = _KEY.fullmatch(presented.decode("latin-1"))
        if match is None:
            return None
        query = select(keys.c.sha256, keys.c.role).where(keys.c.id == match["id"], keys.c.revoked_at.is_(None))
        with transaction(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if not hmac.compare_digest(row.sha256 if row else _NOBODY, digest) or row is None:
            return None
        return Caller(match["id"], Role(row.role))

    def add(self, role: Role, name: str) -> str:
        """Make a key; gives its text, which is stored nowhere."""
        key = _new_key()
        with transaction(self._engine) as connection:
            connection.execute(insert(keys), _row(key, role, name))
        return key

    def revoke(self, key_id: str) -> bool:
        """Make a key worthless from now on; False if there is no such valid key."""
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=_now())
        with transaction(self._engine) as connection:
            return connection.execute(change).rowcount == 1

    def listing(self) -> list[KeyEntry]:
        """Every key, oldest first."""
        query = select(keys.c.id, keys.c.role, keys.c.name, keys.c.created_at, keys.c.revoked_at)
        with transaction(self._engine) as connection:
            return [KeyEntry(*row) for row in connection.execute(query.order_by(keys.c.created_at))]

    def ensure_admin(self, home: Path) -> Path | None:
        """Unless somebody can get in already, make the first admin key and write it to ``admin.key``.

        Gives the file, mode 0600, or None when it was not needed. A key in an existing file is adopted:
        a start that was killed between writing the file and the row is completed by the next.

        Raises:
            ValueError: if an existing file holds no key.
        """
        if self._own is not None:
            return None
        file = home / "admin.key"
        with transaction(self._engine.execution_options(**WRITE_FIRST)) as connection:
            if connection.execute(select(func.count()).select_from(keys)).scalar_one():
                return None
            if not file.exists():
                _write_secret(file, _new_key())
            key = file.read_text(encoding="ascii").strip()
            if _KEY.fullmatch(key) is None:
                raise ValueError(f"{file} holds no Rosette key and the database has none: move the file away, restart")
            connection.execute(insert(keys), _row(key, Role.ADMIN, "first admin key"))
        return file


def _row(key: str, role: Role, name: str) -> dict[str, Any]:
    return {
        "id": key[4:16],
        "sha256": sha256(key.encode()).hexdigest(),
        "role": role.value,
        "name": name,
        "created_at": _now(),
    }


def _new_key() -> str:
    return f"rsk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def _now() -> datetime:
    return datetime.now(UTC)


def _write_secret(file: Path, text: str) -> None:
    """Create a file of mode 0600 with all its content at once, or leave the one that is there."""
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
