"""Liveness, readiness, and the reasons of failures."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path
from time import monotonic

import httpx
import pytest
from sqlalchemy import Engine

from app.records.predictions import check_writable
from model_zoo.network import Network
from tests.app.conftest import RunningServer, assert_problem
from tests.conftest import ROOT

PNG = {"Content-Type": "image/png"}


def test_a_server_says_that_it_is_ready_and_with_what(server: RunningServer, network: Network) -> None:
    assert httpx.get(f"{server.url}/livez").json() == {"status": "alive"}
    manifest = network.manifest
    assert httpx.get(f"{server.url}/readyz").json() == {
        "status": "ready",
        "detail": "",
        "model": manifest.name,
        "version": manifest.version,
        "sha256": network.sha256,
    }


def test_health_takes_no_parameters(server: RunningServer) -> None:
    for path in ("/livez", "/readyz"):
        assert_problem(httpx.get(f"{server.url}{path}?x=1"), 422, "invalid-parameter")


@pytest.mark.parametrize("content", [None, b"not a model", b""])
def test_a_server_without_a_model_starts_and_says_why(tmp_path: Path, png: bytes, content: bytes | None) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with RunningServer(tmp_path / "home", model) as running:
        problem = assert_problem(httpx.get(f"{running.url}/readyz"), 503, "not-ready")
        assert problem["failed"] == ["model"]
        assert str(model) in problem["detail"]
        assert httpx.get(f"{running.url}/livez").status_code == 200
        response = running.client.post("/predict", content=png, headers=PNG)
        assert_problem(response, 503, "no-model")
        assert running.recorded() == 0


def test_a_model_that_answers_otherwise_than_its_golden_cases_does_not_serve(
    tmp_path: Path, artifact_path: Path, network: Network, png: bytes
) -> None:
    """One hexadecimal digit of one golden case is changed, within the file."""
    case = network.manifest.golden_cases[3].logits[0]
    changed = case[:-1] + ("0" if case[-1] != "0" else "1")
    data = artifact_path.read_bytes()
    assert data.count(case.encode()) >= 1
    model = tmp_path / "model.int8.onnx"
    model.write_bytes(data.replace(case.encode(), changed.encode()))
    with RunningServer(tmp_path / "home", model) as running:
        problem = assert_problem(httpx.get(f"{running.url}/readyz"), 503, "not-ready")
        assert "golden case" in problem["detail"]
        assert_problem(running.client.post("/predict", content=png, headers=PNG), 503, "no-model")


def test_records_that_cannot_be_taken_are_noticed_and_nothing_is_answered(
    tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    """Another process holds SQLite's write lock for longer than anybody waits, and there is no journal."""
    with RunningServer(tmp_path, artifact_path, journal_bytes=0) as running:
        blocker = sqlite3.connect(tmp_path / "rosette.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        problem = assert_problem(httpx.get(f"{running.url}/readyz", timeout=120), 503, "not-ready")
        assert problem["failed"] == ["records"]
        response = running.client.post("/predict", content=png, headers=PNG)
        assert_problem(response, 503, "records-unavailable")
        assert response.headers["retry-after"] == "5"
        blocker.execute("ROLLBACK")
        blocker.close()
        assert running.recorded() == 0
        answers_again(running, png)


def test_answers_go_on_in_the_journal_and_the_server_says_that_it_is_degraded(
    tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    with RunningServer(tmp_path, artifact_path) as running:
        assert running.client.get("/predictions").status_code == 200, "the key is known from now on"
        blocker = sqlite3.connect(tmp_path / "rosette.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        answered = [running.client.post("/predict", content=png, headers=PNG) for _ in range(3)]
        assert [answer.status_code for answer in answered] == [200] * 3
        ready = httpx.get(f"{running.url}/readyz", timeout=120)
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "answers go to the journal, 3 so far" in ready.json()["detail"]
        unread = running.client.get(f"/predictions/{answered[0].json()['id']}")
        assert_problem(unread, 503, "not-yet-readable")
        assert unread.headers["retry-after"] == "2"
        blocker.execute("ROLLBACK")
        blocker.close()
        deadline = monotonic() + 120
        while (httpx.get(f"{running.url}/readyz", timeout=120)).json()["status"] != "ready":
            assert monotonic() < deadline
        for answer in answered:
            read = running.client.get(f"/predictions/{answer.json()['id']}")
            while read.status_code == 503:
                assert monotonic() < deadline
                read = running.client.get(f"/predictions/{answer.json()['id']}")
            assert read.content == answer.content
        assert running.recorded() == 3


def answers_again(running: RunningServer, png: bytes) -> None:
    deadline = monotonic() + 120
    while running.client.post("/predict", content=png, headers=PNG).status_code != 200:
        assert monotonic() < deadline


def test_a_database_that_lost_its_tables_is_a_problem_for_everybody(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path, artifact_path) as running:
        with sqlite3.connect(tmp_path / "rosette.db") as outside:
            outside.execute("DROP TABLE keys")
        outside.close()
        assert_problem(running.client.get("/predictions"), 503, "records-unavailable")


def test_readiness_is_found_out_once_a_second_however_many_ask(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []

    def counted(database: Engine, size: int) -> None:
        checks.append(threading.current_thread().name)
        check_writable(database, size)

    monkeypatch.setattr("app.records.availability.check_writable", counted)
    answers: list[int] = []
    askers = [
        threading.Thread(target=lambda: answers.append(httpx.get(f"{server.url}/readyz").status_code))
        for _ in range(20)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert answers == [200] * 20
    assert len(checks) <= 5
    assert "server" not in checks, "the event loop itself touched the database"


def test_the_documentation_names_every_health_route() -> None:
    documented = (ROOT / "README.md").read_text(encoding="utf-8") + "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")
    )
    for path in ("/livez", "/readyz"):
        assert path in documented


def test_without_an_inference_process_it_is_not_ready(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with RunningServer(tmp_path, artifact_path) as running:
        processes = running.services.processes
        with processes._changing:  # nothing takes its place meanwhile
            os.kill(processes.pids[0], signal.SIGKILL)
            deadline = monotonic() + 120
            while (ready := httpx.get(f"{running.url}/readyz")).status_code == 200:
                assert monotonic() < deadline
            assert assert_problem(ready, 503, "not-ready")["failed"] == ["inference"]
        answers_again(running, png)
        while httpx.get(f"{running.url}/readyz").status_code != 200:
            assert monotonic() < deadline


def test_a_float_artifact_does_not_serve(tmp_path: Path, float_artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", float_artifact_path) as running:
        problem = assert_problem(httpx.get(f"{running.url}/readyz"), 503, "not-ready")
        assert "only int8 artifacts are served" in problem["detail"]
