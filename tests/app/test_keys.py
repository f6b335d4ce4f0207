"""Keys: who gets in, and what of them is stored."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.access.keys import OWN_KEY_ID, Caller, Keys, Role
from app.records.database import open_database
from app.records.migrations import migrate
from app.records.tables import keys as table


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def keys(database: Engine) -> Keys:
    return Keys(database)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_opens_with_its_role(keys: Keys, role: Role) -> None:
    key = keys.add(role, "somebody")
    assert re.fullmatch(r"rsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", key)
    assert keys.caller(key.encode()) == Caller(key[4:16], role)


def test_only_the_hash_is_stored(keys: Keys, database: Engine) -> None:
    key = keys.add(Role.READ, "somebody")
    with database.connect() as connection:
        row = connection.execute(select(table)).one()
    assert row.sha256 == sha256(key.encode()).hexdigest()
    assert key[17:] not in repr(row)


def test_other_keys_do_not_open(keys: Keys) -> None:
    key = keys.add(Role.READ, "somebody")
    other = keys.add(Role.READ, "somebody else")
    for wrong in (
        "",
        "x",
        key[:-1],
        key + "A",
        key.upper(),
        key[:16] + other[16:],
        f"rsk_000000000000_{key[17:]}",
        key[:-1] + "\n",
    ):
        assert keys.caller(wrong.encode()) is None
    assert keys.caller(b"\xff" * 60) is None


def test_a_revoked_key_is_worthless(keys: Keys) -> None:
    key = keys.add(Role.ADMIN, "left")
    assert keys.revoke(key[4:16])
    assert keys.caller(key.encode()) is None
    assert not keys.revoke(key[4:16])
    [entry] = keys.listing()
    assert (entry.id, entry.role, entry.name) == (key[4:16], "admin", "left")
    assert entry.revoked_at is not None


def test_the_administrators_own_key_opens_and_is_never_stored(database: Engine, tmp_path: Path) -> None:
    own = "ein Schlüssel mit Umlaut und Leerzeichen"
    keys = Keys(database, own)
    assert keys.caller(own.encode()) == Caller(OWN_KEY_ID, Role.ADMIN)
    assert keys.caller(own.encode() + b"x") is None
    assert keys.ensure_admin(tmp_path) is None
    assert not (tmp_path / "admin.key").exists()
    assert keys.listing() == []


def test_the_first_admin_key_is_written_for_its_owner_only(keys: Keys, tmp_path: Path) -> None:
    file = keys.ensure_admin(tmp_path)
    assert file == tmp_path / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    caller = keys.caller(file.read_bytes().strip())
    assert caller is not None
    assert caller.role is Role.ADMIN
    assert keys.ensure_admin(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir() if "admin" in path.name] == ["admin.key"]


def test_a_start_that_was_killed_after_writing_the_file_is_completed(keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "admin.key"
    file.write_text("rsk_0123456789ab_" + "A" * 43 + "\n")
    assert keys.ensure_admin(tmp_path) == file
    assert keys.caller(file.read_bytes().strip()) == Caller("0123456789ab", Role.ADMIN)


def test_a_file_that_holds_something_else_is_left_alone(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("a diary")
    with pytest.raises(ValueError, match="holds no Rosette key"):
        keys.ensure_admin(tmp_path)
    assert keys.listing() == []
    assert (tmp_path / "admin.key").read_text() == "a diary"
