"""Rotation of keys: by HTTP, by the installed command, and in both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.access.caller import Role
from app.access.keys import Keys
from app.access.rotation import KeyRotation
from app.problems import KeyReplaced, KeyRevoked, UnknownKey
from app.records.audit import AuditTrail
from app.records.migrations import migrate
from tests.app.conftest import TESTER, Clock, RunningServer, assert_problem
from tests.installed import rosette


def test_the_old_key_ends_and_the_new_one_takes_its_place(database: Engine, clock: Clock) -> None:
    migrate(database)
    trail = AuditTrail(database)
    keys = Keys(database, trail, clock=clock)
    rotation = KeyRotation(trail, keys)
    now = datetime.fromtimestamp(clock.now, UTC)
    forever = keys.add(Role.READ, "Ada", TESTER)
    limited = keys.add(Role.PREDICT, "Scanner", TESTER, now + timedelta(days=30))
    clock.now += timedelta(days=20).total_seconds()
    now += timedelta(days=20)
    first, second = rotation.rotate(forever.id, 7, TESTER), rotation.rotate(limited.id, 300, TESTER)
    assert (first.role, first.name, first.expires_at) == (Role.READ, "Ada", None)
    assert (second.role, second.expires_at) == (Role.PREDICT, now + timedelta(days=30))
    ends = {entry.id: entry.expires_at for entry in keys.listing()}
    assert ends[forever.id] == now + timedelta(days=7)
    assert ends[limited.id] == limited.expires_at, "it does not live longer for being replaced"
    assert [row.action for row in trail.page(4).entries] == ["key.rotate", "key.create"] * 2
    with pytest.raises(KeyReplaced, match=f"its successor, the key {first.id}"):
        rotation.rotate(forever.id, 7, TESTER)
    clock.now += timedelta(days=7).total_seconds() - 1
    assert keys.caller(forever.key.encode()) is not None
    clock.now += 1
    assert keys.caller(forever.key.encode()) is None
    assert keys.caller(first.key.encode()) is not None
    with pytest.raises(KeyRevoked, match="cannot be replaced"):
        rotation.rotate(forever.id, 7, TESTER)
    for unknown in ("000000000000", "no id", "\0"):
        with pytest.raises(UnknownKey):
            rotation.rotate(unknown, 7, TESTER)


def test_over_http_and_by_the_command(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as server:
        old = server.new_key(Role.READ)
        path = f"/admin/keys/{old[4:16]}/rotate"
        made = server.client.post(path, json={"days": 3})
        assert (made.status_code, made.json()["role"]) == (201, "read")
        by_command = rosette("keys", "rotate", made.json()["id"], "--days", "2", ROSETTE_HOME=str(tmp_path / "home"))
        for key in (old, made.json()["key"], by_command.strip()):
            with server.client_of(key) as client:
                assert client.get("/predictions").status_code == 200
        left = {key["id"]: key["expires_at"] for key in server.client.get("/admin/keys").json()["keys"]}
        expiry = datetime.fromisoformat(left[old[4:16]]) - datetime.now(UTC)
        assert timedelta(days=2, hours=23) < expiry <= timedelta(days=3)
        for days in (0, 366, "7"):
            assert_problem(server.client.post(path, json={"days": days}), 422, "invalid-json")
        assert_problem(server.client.post("/admin/keys/000000000000/rotate", json={}), 404, "unknown-key")
