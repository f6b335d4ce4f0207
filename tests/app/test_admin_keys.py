"""``/admin/keys`` and ``rosette keys``: create, list and revoke keys."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from app.access.caller import Role
from app.api.json_body import MAX_BYTES
from app.commands.keys import keys as keys_command
from app.records.audit import AuditTrail
from app.records.database import open_database
from tests.app.conftest import RunningServer, assert_problem

WANTED = {"role": "predict", "name": "microscope 3"}


def make(server: RunningServer, **wanted: Any) -> dict[str, Any]:
    response = server.client.post("/admin/keys", json=WANTED | wanted)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def listed(server: RunningServer, key_id: str) -> dict[str, Any]:
    [entry] = [each for each in server.client.get("/admin/keys").json()["keys"] if each["id"] == key_id]
    return dict(entry)


def told(server: RunningServer, key_id: str) -> list[tuple[str, str, str]]:
    """Action, who and address of what the audit trail says of a key, oldest first."""
    entries = server.services.audit.page(1000).entries[::-1]
    return [(each.action, each.who, each.address) for each in entries if each.subject == key_id]


def test_a_key_is_made_shown_once_used_and_revoked(server: RunningServer) -> None:
    before = datetime.now(UTC)
    made = make(server, name="  Ward 5 ")
    key = made.pop("key")
    assert key.startswith(f"rsk_{made['id']}_")
    assert made == listed(server, made["id"])
    assert (made["role"], made["name"]) == ("predict", "Ward 5")
    assert (made["expires_at"], made["last_used_at"], made["revoked_at"]) == (None, None, None)
    assert before <= datetime.fromisoformat(made["created_at"]) <= datetime.now(UTC)
    assert key not in server.client.get("/admin/keys").text

    with server.client_of(key) as client:
        assert client.get("/predictions").json() == {"predictions": [], "next": None}
        used = listed(server, made["id"])["last_used_at"]
        assert before <= datetime.fromisoformat(used) <= datetime.now(UTC)
        revoked = server.client.post(f"/admin/keys/{made['id']}/revoke")
        assert revoked.status_code == 200
        assert revoked.json() == listed(server, made["id"])
        assert revoked.json()["revoked_at"] is not None
        assert_problem(client.get("/predictions"), 401, "unauthorized")
    assert_problem(server.client.post(f"/admin/keys/{made['id']}/revoke"), 409, "key-revoked")


def test_making_and_revoking_name_the_admin_and_the_address(server: RunningServer) -> None:
    boss = make(server, role="admin", name="Grace")
    with server.client_of(boss["key"]) as client:
        made = client.post("/admin/keys", json=WANTED).json()
        client.post(f"/admin/keys/{made['id']}/revoke")
    who = f"Grace ({boss['id']})"
    assert told(server, made["id"]) == [("key.create", who, "127.0.0.1"), ("key.revoke", who, "127.0.0.1")]


def test_an_expiry_is_kept_in_utc(server: RunningServer) -> None:
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    made = make(server, expires_at=ahead.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == ahead
    assert listed(server, made["id"])["expires_at"] == made["expires_at"]
    with server.client_of(made["key"]) as client:
        assert client.get("/predictions").status_code == 200


@pytest.mark.parametrize("key_id", ["000000000000", "x", "%00", "..%2f..", "ä"])
def test_unknown_keys_cannot_be_revoked(server: RunningServer, key_id: str) -> None:
    response = server.client.post(f"/admin/keys/{key_id}/revoke")
    assert response.status_code == 404
    if "%2f" not in key_id:
        assert_problem(response, 404, "unknown-key")


@pytest.mark.parametrize(
    ("body", "slug", "message"),
    [
        (b"", "invalid-json", "body: Invalid JSON"),
        (b"{", "invalid-json", "body: Invalid JSON"),
        (b"\xff", "invalid-json", "body: Invalid JSON"),
        (b"[" * MAX_BYTES, "invalid-json", "recursion limit"),
        (b"[]", "invalid-json", "body: Input should be an object"),
        (b"{}", "invalid-json", "role: is missing; name: is missing"),
        (WANTED | {"role": "root"}, "invalid-json", "role: expected 'predict', 'pathologist'"),
        (WANTED | {"name": 7}, "invalid-json", "name: expected a text"),
        (WANTED | {"id": "0123456789ab"}, "invalid-json", "id: is unknown: leave it out"),
        (WANTED | dict.fromkeys("abcdefg"), "invalid-json", "; and 2 more"),
        (WANTED | {"expires_at": 1_900_000_000}, "invalid-json", "expires_at: expected a time in ISO 8601"),
        (WANTED | {"name": " "}, "invalid-parameter", "expected 1 to 120 printable"),
        (WANTED | {"name": "a\u0000b"}, "invalid-parameter", "expected 1 to 120 printable"),
        (WANTED | {"expires_at": "2100-01-01T00:00:00"}, "invalid-parameter", "has no time zone"),
        (WANTED | {"expires_at": "2020-01-01T00:00:00Z"}, "invalid-parameter", "within the next 100 years"),
        (WANTED | {"expires_at": "9999-12-31T23:59:59-12:00"}, "invalid-parameter", "within the next 100 years"),
    ],
)
def test_what_does_not_fit_is_said_and_makes_no_key(
    server: RunningServer, body: bytes | dict[str, Any], slug: str, message: str
) -> None:
    before = server.client.get("/admin/keys").json()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = server.client.post("/admin/keys", content=content, headers={"Content-Type": "application/json"})
    assert message in assert_problem(response, 422, slug)["detail"]
    assert server.client.get("/admin/keys").json() == before


@pytest.mark.parametrize(
    ("headers", "length", "status", "slug"),
    [
        ({"Content-Type": "text/plain"}, 2, 415, "unsupported-content-type"),
        ({}, 2, 415, "unsupported-content-type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 2, 415, "unsupported-content-type"),
        ({"Content-Type": "application/json; charset=utf-8"}, MAX_BYTES + 1, 413, "body-too-large"),
        ({"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, MAX_BYTES + 1, 413, "body-too-large"),
    ],
)
def test_bodies_are_judged_by_their_headers_and_bounded(
    server: RunningServer, headers: dict[str, str], length: int, status: int, slug: str
) -> None:
    content: bytes | Iterator[bytes] = b" " * length
    if "Transfer-Encoding" in headers:
        content = iter([b" " * length])
    assert_problem(server.client.post("/admin/keys", content=content, headers=headers), status, slug)


def test_parameters_are_refused(server: RunningServer) -> None:
    assert_problem(server.client.get("/admin/keys?x=1"), 422, "invalid-parameter")
    assert_problem(server.client.post("/admin/keys?x=1", json=WANTED), 422, "invalid-parameter")
    assert_problem(server.client.post("/admin/keys/000000000000/revoke?x=1"), 422, "invalid-parameter")


def test_the_body_is_described(server: RunningServer) -> None:
    described = httpx.get(f"{server.url}/openapi.json").json()
    operation = described["paths"]["/admin/keys"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"role", "name", "expires_at"}
    assert schema["properties"]["role"] == {"$ref": "#/components/schemas/Role"}
    assert described["components"]["schemas"]["Role"]["enum"] == [role.value for role in Role]
    assert operation["tags"] == ["keys"]


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, artifact_path: Path) -> Iterator[RunningServer]:
    """A server with a database of its own, of either kind."""
    settings = {}
    if request.param == "postgresql":
        engine: Engine = request.getfixturevalue("postgres")
        settings["database_url"] = engine.url.render_as_string(hide_password=False)
    with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
        yield running


def test_the_last_admin_key_cannot_be_revoked(fresh: RunningServer) -> None:
    first = fresh.key[4:16]
    make(fresh, role="read")
    assert_problem(fresh.client.post(f"/admin/keys/{first}/revoke"), 409, "last-admin-key")
    assert fresh.client.get("/admin/keys").status_code == 200
    second = make(fresh, role="admin")
    with fresh.client_of(second["key"]) as client:
        assert client.post(f"/admin/keys/{first}/revoke").status_code == 200
        assert_problem(fresh.client.get("/admin/keys"), 401, "unauthorized")
        assert_problem(client.post(f"/admin/keys/{second['id']}/revoke"), 409, "last-admin-key")


def test_the_settings_own_key_makes_every_other_one_dispensable(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path, artifact_path, admin_key="x" * 32) as running:
        made = make(running, role="admin")
        assert running.client.post(f"/admin/keys/{made['id']}/revoke").status_code == 200
        assert told(running, made["id"]) == [
            ("key.create", "settings", "127.0.0.1"),
            ("key.revoke", "settings", "127.0.0.1"),
        ]


def test_known_keys_go_on_while_the_database_is_away(fresh: RunningServer) -> None:
    unknown = make(fresh)["key"]
    database = open_database(fresh.settings.sqlalchemy_url(), connections=1)
    with fresh.new_client(Role.METRICS) as known, fresh.client_of(unknown) as stranger:
        assert_problem(known.get("/predictions"), 403, "forbidden")
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE keys RENAME TO away"))
        assert_problem(known.get("/predictions"), 403, "forbidden")
        unavailable = stranger.get("/predictions")
        assert_problem(unavailable, 503, "records-unavailable")
        assert unavailable.headers["retry-after"] == "5"
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO keys"))
        assert stranger.get("/predictions").status_code == 200
    database.dispose()


@pytest.fixture
def rosette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command, with a home of its own."""
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "240")
    application = typer.Typer()
    application.add_typer(keys_command, name="keys")
    return application


def run(rosette: typer.Typer, *arguments: str) -> str:
    done = CliRunner().invoke(rosette, ["keys", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def refusal(rosette: typer.Typer, *arguments: str) -> str:
    done = CliRunner().invoke(rosette, ["keys", *arguments])
    assert done.exit_code != 0
    return done.stderr


def test_the_command_makes_lists_and_revokes(rosette: typer.Typer, tmp_path: Path) -> None:
    key = run(rosette, "add", "--role", "review", "--name", "the [bold]ward", "--expires-days", "30")
    shown = run(rosette, "list")
    expiry = datetime.now(UTC) + timedelta(days=30)
    for part in (key[4:16], "review", "the [bold]ward", f"{expiry:%Y-%m-%d}"):
        assert part in shown
    assert key[17:] not in shown
    run(rosette, "revoke", key[4:16])
    assert "was revoked at" in refusal(rosette, "revoke", key[4:16])
    database = open_database(f"sqlite:///{tmp_path / 'home' / 'rosette.db'}")
    entries = AuditTrail(database).page(10).entries
    database.dispose()
    actor = (f"shell:{pwd.getpwuid(os.getuid()).pw_name}", "")
    assert [(each.action, (each.who, each.address)) for each in entries] == [
        ("key.revoke", actor),
        ("key.create", actor),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add",), "--name"),
        (("add", "--name", " "), "expected 1 to 120 printable"),
        (("add", "--name", "x", "--expires-days", "0"), "--expires-days"),
        (("add", "--name", "x", "--expires-days", "99999999999"), "--expires-days"),
        (("add", "--name", "x", "--role", "root"), "--role"),
        (("revoke", "000000000000"), "no key with this id"),
    ],
)
def test_the_command_says_what_does_not_fit(rosette: typer.Typer, arguments: tuple[str, ...], message: str) -> None:
    assert message in refusal(rosette, *arguments)
    assert "rsk_" not in run(rosette, "list")


def test_the_command_leaves_an_admin_key(rosette: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run(rosette, "add", "--role", "admin", "--name", "Grace")
    assert "no valid admin key would be left" in refusal(rosette, "revoke", key[4:16])
    monkeypatch.setenv("ROSETTE_ADMIN_KEY", "x" * 32)
    run(rosette, "revoke", key[4:16])


def test_a_key_of_the_command_opens_the_running_server(
    rosette: typer.Typer, tmp_path: Path, artifact_path: Path
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        key = run(rosette, "add", "--role", "read", "--name", "Ada")
        with running.client_of(key) as client:
            assert client.get("/predictions").status_code == 200
