"""The log of a real server process, on stderr."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from app import logs, request_id
from app.logs import JsonFormatter, TextFormatter
from app.server import make_server
from tests.app.conftest import RunningServer
from tests.app.test_process import SERVE, environment, url_in
from tests.conftest import ROOT
from tests.homes import furnish

KEY = "a-test-brings-its-own-admin-key-of-some-length"
PNG = {"Content-Type": "image/png"}


def lines_of(home: Path, model: Path, ask: Callable[[httpx.Client], object], **settings: str) -> list[str]:
    """What a server wrote to stderr while it was asked."""
    furnish(home, model)
    log = home / "stderr"
    with log.open("w") as stderr:
        served = subprocess.Popen(
            SERVE,
            env=environment(home, MODEL=str(model), ADMIN_KEY=KEY, INFERENCE_PROCESSES="1", **settings),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        with served:
            assert served.stdout is not None
            said = ""
            while "curl" not in said:
                line = served.stdout.readline()
                assert line, log.read_text()
                said += line
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=url_in(said), headers=headers, timeout=120, trust_env=False) as client:
                ask(client)
            served.send_signal(signal.SIGTERM)
            served.stdout.read()
    return log.read_text().splitlines()


def test_json_lines_say_who_asked_what(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    def ask(client: httpx.Client) -> None:
        client.post("/predict?case_id=secret-case", content=png, headers=PNG | {"X-Request-ID": "first"})
        client.get("/predictions/secret-id", headers={"X-Request-ID": "second"})
        httpx.get(f"{client.base_url}/predictions", headers={"Authorization": "Bearer secret-key"})
        client.request("PROPFIND", "/secret-path?secret-query")
        client.get(
            "/livez", headers={"User-Agent": "secret-agent", "Referer": "http://secret", "X-Request-ID": "se cret"}
        )

    lines = lines_of(tmp_path, artifact_path, ask, LOG_FORMAT="json", LOG_LEVEL="debug")
    assert "secret" not in "".join(lines)
    assert KEY not in "".join(lines)
    events = [json.loads(line) for line in lines]
    for event in events:
        assert {"time", "level", "logger", "message", "request_id"} <= set(event)
        assert datetime.fromisoformat(event["time"]).utcoffset() == timedelta(0)
    assert {"rosette.models", "uvicorn.error"} <= {event["logger"] for event in events}
    predict, read, refused, unknown, alive = (event for event in events if event["logger"] == "rosette.access")
    assert predict["duration_ms"] > 0
    assert {name: predict[name] for name in ("level", "request_id", "method", "route", "status", "key_id")} == {
        "level": "debug",
        "request_id": "first",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "key_id": "settings",
    }
    assert {event["address"] for event in (predict, read, refused, unknown, alive)} == {"127.0.0.1"}
    assert (read["request_id"], read["route"]) == ("second", "/predictions/{prediction_id}")
    assert (refused["status"], refused["route"], refused["key_id"]) == (401, None, None)
    assert (unknown["status"], unknown["route"], unknown["method"]) == (404, None, "other")
    assert (alive["route"], len(alive["request_id"])) == ("/livez", 32)


def test_what_the_database_has_is_no_line_unless_that_is_asked_for(
    tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    def ask(client: httpx.Client) -> None:
        assert client.post("/predict", content=png, headers=PNG).status_code == 200
        assert client.post("/predict", content=b"x", headers=PNG).status_code == 422

    lines = lines_of(tmp_path, artifact_path, ask, LOG_FORMAT="json")
    events = [event for event in map(json.loads, lines) if event["logger"] == "rosette.access"]
    assert [event["status"] for event in events] == [422]


def test_text_lines_say_the_same(tmp_path: Path, artifact_path: Path) -> None:
    lines = lines_of(tmp_path, artifact_path, lambda client: client.get("/livez", headers={"X-Request-ID": "mine"}))
    [access] = [line for line in lines if "rosette.access" in line]
    form = r"\d{4}-\S+\+00:00 INFO rosette\.access: GET /livez 200 in \d+\.\d+ ms for nobody from 127\.0\.0\.1 \[mine\]"
    assert re.fullmatch(form, access)


def test_the_level_is_a_setting(tmp_path: Path, artifact_path: Path) -> None:
    assert lines_of(tmp_path, artifact_path, lambda client: client.get("/livez"), LOG_LEVEL="warning") == []


def event(message: str, *values: object, **options: Any) -> logging.LogRecord:
    return logging.LogRecord("rosette.test", logging.ERROR, "", 0, message, values, options.get("exc_info"))


HOSTILE = "a\r\n2030-01-01 INFO forged\x1b[2J\x00\x85\u2028b"


def test_no_text_can_begin_a_line_of_its_own() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    lines = TextFormatter().format(event("%s", HOSTILE, exc_info=trace)).split("\n")
    assert len(lines) > 3
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[0].endswith(r"a\x0d\x0a2030-01-01 INFO forged\x1b[2J\x00\x85\u2028b")
    assert not [line for line in lines if not line.isprintable()]


def test_a_json_event_is_one_line_whatever_it_says() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    [line] = JsonFormatter().format(event("%s", HOSTILE, exc_info=trace)).splitlines()
    assert line.isascii()
    assert json.loads(line)["message"] == HOSTILE
    assert HOSTILE.partition("\r")[0] in json.loads(line)["exception"]


def test_a_line_says_during_which_request_it_was_written() -> None:
    token = request_id.current.set("mine")
    try:
        assert json.loads(JsonFormatter().format(event("x")))["request_id"] == "mine"
        assert TextFormatter().format(event("x")).endswith(": x [mine]")
    finally:
        request_id.current.reset(token)
    assert json.loads(JsonFormatter().format(event("x")))["request_id"] is None


@contextmanager
def log_of_this_process(shown_as: logs.Format) -> Iterator[StringIO]:
    """Catches what would go to stderr; whatever handlers were there, are afterwards."""
    root, stream = logging.getLogger(), StringIO()
    before = root.handlers[:]
    logs.configure(shown_as, "info")
    [ours] = [handler for handler in root.handlers if handler not in before]
    assert isinstance(ours, logging.StreamHandler)
    ours.setStream(stream)
    try:
        yield stream
    finally:
        root.handlers[:] = before


class FailingServer(RunningServer):
    """Two more routes, open to everybody: one that fails at once, one that fails in the middle of its response."""

    def __init__(self, home: Path, model: Path, **settings: Any) -> None:
        super().__init__(home, model, **settings)
        app: FastAPI = self.app

        async def fail() -> None:
            raise RuntimeError("it failed")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"begun"
            await asyncio.sleep(0)
            raise RuntimeError("it broke")

        async def break_off() -> StreamingResponse:
            return StreamingResponse(pieces())

        app.add_api_route("/docs/assets/fail/", fail)
        app.add_api_route("/docs/assets/break/", break_off)


def test_an_unexpected_error_is_logged_once_with_its_request(tmp_path: Path, artifact_path: Path) -> None:
    with FailingServer(tmp_path, artifact_path, log_format="json") as server, log_of_this_process("json") as stream:
        failed = httpx.get(f"{server.url}/docs/assets/fail/", headers={"X-Request-ID": "at-once"})
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{server.url}/docs/assets/break/", headers={"X-Request-ID": "in-the-middle"})
        figures = server.client.get("/metrics").text
    assert (failed.status_code, failed.headers["X-Request-ID"]) == (500, "at-once")
    assert failed.headers["X-Content-Type-Options"] == "nosniff"
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    failures = [event for event in events if "exception" in event]
    assert [(event["request_id"], event["level"]) for event in failures] == [
        ("at-once", "error"),
        ("in-the-middle", "error"),
    ]
    assert "RuntimeError: it failed" in failures[0]["exception"]
    assert "RuntimeError: it broke" in failures[1]["exception"]
    assert failures[0]["message"] == "GET /docs/assets/fail/ failed"
    assert 'rosette_problems_total{problem="internal-error"} 1.0' in figures


def test_the_address_is_that_behind_the_proxy(tmp_path: Path, artifact_path: Path) -> None:
    with (
        RunningServer(tmp_path, artifact_path, trusted_proxies="127.0.0.1") as server,
        log_of_this_process("json") as stream,
    ):
        for forwarded in ("203.0.113.7", "203.0.113.7 forged", "last"):
            server.client.get("/livez", headers={"X-Forwarded-For": forwarded})
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    addresses = [event["address"] for event in events if event["logger"] == "rosette.access"]
    assert addresses[:2] == ["203.0.113.7", "unknown"]  # the last may be logged after its answer


def test_a_second_server_does_not_log_twice(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path, artifact_path) as server:
        with log_of_this_process("text") as stream:
            make_server(server.app, server.settings, lambda _: None)
            [handler] = [each for each in logging.getLogger().handlers if type(each).__module__ == "app.logs"]
            assert isinstance(handler, logging.StreamHandler)
            handler.setStream(stream)
            server.client.get("/livez")
            server.client.get("/readyz")  # answered when the request before has been logged
        assert stream.getvalue().count("/livez") == 1
