"""Pages about figures and the machine: agreement, acceptance, status, audit filters; over HTTP alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from app.access.caller import Role
from app.records.audit import AuditFilter
from app.settings import Settings
from app.web.machine import machine
from tests.app.conftest import RunningServer
from tests.web.conftest import newest

Visit = Callable[..., httpx.Client]


def token(client: httpx.Client, path: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def test_a_reviewer_draws_answers_and_sees_their_agreement(lived_in: RunningServer, visitor: Visit) -> None:
    reviewer, month = visitor(Role.REVIEW), f"{datetime.now(UTC):%Y-%m}"
    csrf = token(reviewer, "/ui/agreement")
    judged = newest(lived_in)
    assert lived_in.client.post(f"/predictions/{judged}/reviews", json={"verdict": "agree"}).status_code == 201
    for wrong in ({"month": "2030-13", "n": "5"}, {"month": month, "n": "501"}, {"month": month, "n": "-1"}):
        refused = reviewer.post("/ui/agreement", data={"csrf": csrf} | wrong)
        assert (refused.status_code, "Enter a month such as" in refused.text) == (422, True)
    drawn = reviewer.post("/ui/agreement", data={"csrf": csrf, "month": month, "n": "500"})
    assert (drawn.status_code, drawn.headers["location"][:20]) == (303, "/ui/agreement?drawn=")
    page = reviewer.get(drawn.headers["location"]).text
    assert "answers were drawn." in page
    waiting = re.findall(r'href="/cases/([0-9a-f-]{36})"', page)
    assert judged not in waiting
    assert reviewer.get(f"/cases/{waiting[0]}").status_code == 200
    assert month in page
    assert 'name="n"' not in visitor(Role.READ).get("/ui/agreement").text
    assert visitor(Role.PREDICT).get("/ui/agreement").status_code == 403
    assert month in visitor().get(f"/models/{lived_in.client.get('/admin/models').json()['active']}").text


def test_the_page_of_acceptance_tests_states_the_rule(lived_in: RunningServer, visitor: Visit) -> None:
    page = visitor().get("/acceptance").text
    assert "rosette acceptance FOLDER" in page
    assert "lower 95 % bound at least" in page
    assert visitor().get("/acceptance/none").status_code == 404
    assert visitor(Role.REVIEW).get("/acceptance").status_code == 403


def test_the_audit_page_filters(lived_in: RunningServer, visitor: Visit) -> None:
    admin = visitor()
    for nobody in ("action=model.&who=no%20such%20person", "action=no-such-action&who=a%20test"):
        assert "No row matches" in admin.get(f"/audit?{nobody}").text
    models = admin.get("/audit?action=model.").text
    actions = set(re.findall(r'<code class="word">([^<]+)</code>', models))
    assert actions
    assert all(action.startswith("model.") for action in actions)
    entries = lived_in.client.get("/admin/audit", params={"who": "A TEST", "action": "key.", "limit": 200}).json()
    assert entries["entries"]
    assert all("a test" in entry["who"] and entry["action"].startswith("key.") for entry in entries["entries"])
    assert lived_in.client.get("/admin/audit", params={"who": "%", "limit": 1}).json()["entries"] == []
    assert lived_in.client.get("/admin/audit?who=%00").status_code == 422
    assert AuditFilter().conditions() == []


def test_the_status_shows_the_machine_to_administrators_alone(lived_in: RunningServer, visitor: Visit) -> None:
    page = visitor().get("/status").text
    head = lived_in.client.get("/admin/audit/head").json()["head"]
    assert re.search(r'<code id="head" class="hash">\d+:[0-9a-f]{64}</code>', page)
    assert head.partition(":")[0].isdigit()
    assert "ROSETTE_BACKUPS is not set" in page
    assert 'id="head"' not in visitor(Role.METRICS).get("/status").text


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that expires in ten days."""
    key, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(days=1))
    made = built.not_valid_after(now + timedelta(days=10, hours=1)).sign(key, None)
    assert isinstance(made.signature_hash_algorithm, hashes.HashAlgorithm | None)
    file = tmp_path / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return file


def test_backups_and_the_certificate_are_looked_at(lived_in: RunningServer, tmp_path: Path, certificate: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    for name, days in (("old.tar", 9), ("new.tar", 3), (".partial", 0)):
        (backups / name).touch()
        at = (datetime.now(UTC) - timedelta(days=days, hours=1)).timestamp()
        os.utime(backups / name, (at, at))
    home, database = lived_in.settings.home, lived_in.services.database
    found = machine(Settings(home=home, backups=backups, certificate=certificate), database)
    now = datetime.now(UTC)
    assert (found.days_old(now), found.days_left(now), found.faults) == (3, 10, ())
    assert (found.database or 0) > 10_000
    assert 0 < found.free <= found.total
    (certificate).write_text("no certificate")
    broken = machine(Settings(home=home, backups=tmp_path / "missing", certificate=certificate), database)
    assert (broken.backup, broken.expires, len(broken.faults)) == (None, None, 2)
