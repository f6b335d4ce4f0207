"""Webhooks reach a receiver that answers badly, and tell nobody else."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from sqlalchemy import Engine, select

from app.access.caller import Role
from app.records.audit import AuditTrail, Event
from app.records.database import open_database, transaction
from app.records.migrations import migrate
from app.records.tables import webhook_cursor
from app.records.webhook_events import WebhookEvents
from app.settings import Settings
from app.webhooks.delivery import DeliveryError, deliver
from app.webhooks.sender import MAX_BYTES, MAX_EVENTS, Webhooks
from app.webhooks.target import Target
from model_zoo.orbit import Rotations
from tests.app.conftest import TESTER, RunningServer, answer_of, assert_problem, encoded, entry_of, write
from tests.installed import rosette

KEY = b"a-webhook-key-of-at-least-32-characters"
SHA = "ab" * 32


class Receiver(HTTPServer):
    """Answers with the given statuses in turn, then with 200, and keeps what arrived."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.arrived: SimpleQueue[tuple[str, dict[str, str], bytes]] = SimpleQueue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.arrived.put((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving(*statuses: int, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    with Receiver(*statuses) as receiver:
        if tls is not None:
            receiver.socket = tls.wrap_socket(receiver.socket, server_side=True)
        thread = threading.Thread(target=receiver.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()


def until(true: Callable[[], Any]) -> None:
    deadline = monotonic() + 120
    while not true():
        assert monotonic() < deadline
        sleep(0.05)


def cursor(database: Engine) -> Any:
    with transaction(database) as connection:
        return connection.execute(select(webhook_cursor)).one_or_none()


def checked(headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
    """The events of a body, whose signature a receiver would accept."""
    moment, found = headers["Rosette-Signature"].removeprefix("t=").split(",v1=")
    assert hmac.compare_digest(hmac.new(KEY, f"{moment}.".encode() + body, sha256).hexdigest(), found)
    assert abs(int(moment) - datetime.now(UTC).timestamp()) < 600
    assert len(body) <= MAX_BYTES
    events: list[dict[str, Any]] = json.loads(body)["events"]
    return events


def test_a_server_tells_what_needs_a_person(tmp_path: Path, artifact_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    with receiving(302, 500) as receiver:
        settings = {"webhook_url": receiver.url, "webhook_key_file": tmp_path / "key"}
        with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
            until(lambda: cursor(running.services.database))
            empty = encoded(np.full((96, 96, 3), 245, np.uint8))
            parameters = {"rotations": "none", "case_id": "case-secret", "slide_id": "slide-secret"}
            answer = running.client.post("/predict", files={"file": empty}, params=parameters).json()
            assert answer["decision"] == "not_assessable"
            tries = [receiver.arrived.get(timeout=120) for _ in range(3)]
            assert {(path, body) for path, _, body in tries} == {("/hook?token=secret", tries[0][2])}
            for _, headers, body in tries:
                [event] = checked(headers, body)
                assert event == {
                    "id": answer["id"],
                    "type": "prediction.not_assessable",
                    "at": event["at"],
                    "prediction_id": answer["id"],
                    "decision": "not_assessable",
                    "reasons": [reason["code"] for reason in answer["reasons"]],
                    "model": answer["model"]["sha256"],
                }
            running.services.audit.record(TESTER, Event("key.create", "a-key"))
            running.services.audit.record(TESTER, Event("model.activate", SHA, after={"note": "private"}))
            _, headers, body = receiver.arrived.get(timeout=120)
            [event] = checked(headers, body)
            assert (event["type"], event["model"]) == ("model.activate", SHA)
            assert b"private" not in body
            until(lambda: running.services.webhooks.sent == 2)
            assert "rosette_webhook_failures_total 2.0" in running.client.get("/metrics").text
            with httpx.Client(base_url=running.url, headers={"Accept": "text/html"}) as browser:
                browser.post("/login", data={"key": running.key})
                shown = " ".join(re.sub(r"<[^>]*>", " ", browser.get("/status").text).split())
            assert "Webhooks Events sent 2 Failed tries 2 Events dropped 0" in shown
            settings_row = running.client.get("/admin/audit").text
            assert "token=secret" not in settings_row
        assert receiver.arrived.empty()


def test_what_fails_too_often_is_dropped_and_the_next_goes_on(sqlite: Engine) -> None:
    migrate(sqlite)
    events = WebhookEvents(sqlite, timedelta(0))
    assert events.next(1) == []
    with receiving(404, 503) as receiver:
        webhooks = Webhooks((Target.parse(receiver.url), KEY), events, lambda: True, waits_s=(0.0, 0.0))
        AuditTrail(sqlite).record(TESTER, Event("model.retire", SHA))
        made = [answer_of(datetime.now(UTC), decision=("review", "positive")[number % 2]) for number in range(40)]
        for answer in made:
            write(sqlite, entry_of(answer, Rotations.NONE, "key"))

        async def run() -> None:
            task = asyncio.create_task(webhooks.run())
            while webhooks.sent < 20 or events.next(1):  # a cancelled sender sends its last events again
                await asyncio.sleep(0.05)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(run(), 120))
        assert (webhooks.failed, webhooks.dropped, webhooks.trouble) == (2, 1, "")
        arrived = [receiver.arrived.get_nowait() for _ in range(2 + 2)]
    told = [event for _, headers, body in arrived[2:] for event in checked(headers, body)]
    assert [event["id"] for event in told] == [str(answer.id) for answer in made[::2]]
    assert events.next(MAX_EVENTS) == []


def test_one_server_at_a_time_sends_and_old_events_are_left_out(database: Engine) -> None:
    migrate(database)
    first, second = WebhookEvents(database, timedelta(0)), WebhookEvents(database, timedelta(0))
    assert first.next(1) == []
    assert first.hold(60)
    assert not second.hold(60)
    assert first.hold(0)
    until(lambda: second.hold(60))
    old = answer_of(datetime.now(UTC) - timedelta(days=2), decision="review")
    write(database, entry_of(old, Rotations.NONE, "key"))
    answer = answer_of(datetime.now(UTC), decision="review")
    write(database, entry_of(answer, Rotations.NONE, "key"))
    until(lambda: second.next(5))
    [event] = second.next(5)
    assert event.body["id"] == str(answer.id)
    first.move([event])
    assert second.next(5) == [event]
    second.move([event])
    assert first.next(5) == []


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_a_receiver_that_does_not_answer_is_not_waited_for() -> None:
    with silent() as url, pytest.raises(DeliveryError, match="no response within 5 s"):
        asyncio.run(deliver(Target.parse(url), None, b"{}", "t=0,v1="))
    with pytest.raises(DeliveryError, match="the connection failed"):
        asyncio.run(deliver(Target.parse(url), None, b"{}", "t=0,v1="))


def test_certificates_are_checked(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    with receiving(tls=server) as receiver:
        target = Target.parse(f"https://localhost:{receiver.server_address[1]}/")
        with pytest.raises(DeliveryError, match="SSLCertVerificationError"):
            asyncio.run(deliver(target, ssl.create_default_context(), b"{}", "t=0,v1="))
        assert receiver.arrived.empty()
        asyncio.run(deliver(target, ssl.create_default_context(cafile=str(file)), b"{}", "t=0,v1="))
        assert receiver.arrived.get(timeout=60)[2] == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://10.0.0.1/",
        "http://127.0.0.1.example.org/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost.example.org/",
        "https://user:password@example.org/",
        "https://example.org/#x",
        "https://example.org/a\r\nX: y",
        "https://example.org\\@127.0.0.1/",
        "https://exämple.org/",
        "https:///path",
        "https://example..org/",
        "https://.example.org/",
        f"https://{64 * 'a'}.org/",
        "https://example.org:99999/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://example.org/" + "x" * 2048,
    ],
)
def test_only_https_and_this_machine_are_addresses(url: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    with pytest.raises(ValidationError, match="webhook_url"):
        Settings(webhook_url=url, webhook_key_file=tmp_path / "key")


def test_the_key_is_needed_and_long(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    for settings in ({"webhook_url": "https://example.org"}, {"webhook_key_file": tmp_path / "key"}):
        with pytest.raises(ValidationError, match="set both or none"):
            Settings(**settings)
    with pytest.raises(ValidationError, match="has 5 characters"):
        Settings(webhook_url="https://example.org", webhook_key_file=tmp_path / "key")
    (tmp_path / "key").write_bytes(KEY)
    found = Settings(webhook_url="https://[2001:db8::1]:8443/a?b", webhook_key_file=tmp_path / "key").webhook_target()
    assert found == (Target(True, "2001:db8::1", 8443, "/a?b"), KEY)
    assert found[0].authority == "[2001:db8::1]:8443"
    assert "/a" not in repr(found[0])


def test_a_test_event_is_sent_at_once_and_audited(tmp_path: Path, artifact_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    with receiving(200, 500) as receiver:
        settings = {"webhook_url": receiver.url, "webhook_key_file": tmp_path / "key"}
        with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
            found = running.client.post("/admin/webhook/test").json()
            assert found == {"delivered": True, "reason": "", "host": receiver.url.split("/")[2]}
            _, headers, body = receiver.arrived.get(timeout=120)
            assert [event["type"] for event in checked(headers, body)] == ["test"]
            soon = running.client.post("/admin/webhook/test")
            assert_problem(soon, 429, "too-soon")
            wait_s = int(soon.headers["retry-after"])
            assert 1 <= wait_s <= 10
            assert f"wait {wait_s} s" in soon.json()["detail"]
            with running.client_of(running.new_key(Role.METRICS)) as metrics:
                assert_problem(metrics.post("/admin/webhook/test"), 403, "forbidden")
            with httpx.Client(base_url=running.url, headers={"Accept": "text/html"}) as browser:
                browser.post("/login", data={"key": running.key})
                csrf = re.findall(r'name="csrf" value="([^"]+)"', browser.get("/status").text)[0]
                again = browser.post("/status/test-webhook", data={"csrf": csrf})
            assert (again.status_code, "less than 10 s ago" in again.text) == (429, True)

        def by_command(code: int) -> str:
            home, key = str(tmp_path / "home"), str(tmp_path / "key")
            where = receiver.url
            return rosette(
                "test-webhook", code=code, ROSETTE_HOME=home, ROSETTE_WEBHOOK_URL=where, ROSETTE_WEBHOOK_KEY_FILE=key
            )

        assert "the response has the status 500" in by_command(1)
        assert "was delivered to 127.0.0.1" in by_command(0)
        receiver.server_close()
        assert "the connection failed" in by_command(1)
    assert "Set ROSETTE_WEBHOOK_URL" in rosette("test-webhook", code=1, ROSETTE_HOME=str(tmp_path / "home"))
    trail = AuditTrail(open_database(f"sqlite:///{tmp_path}/home/rosette.db"))
    rows = [row for row in trail.page(20).entries if row.action == "webhook.test"]
    assert [json.loads(row.after or "")["delivered"] for row in rows] == [False, True, False, True]
    assert all("secret" not in f"{row.subject} {row.after}" for row in rows)
