"""The metrics, read with Prometheus' parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.access.caller import Role
from tests.app.conftest import RunningServer, all_at_work, assert_problem, encoded

PNG = {"Content-Type": "image/png"}
Figures = Callable[..., float]


def figures_of(text: str) -> Figures:
    """A function that gives the sum of a metric's samples with these labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(name: str, /, **labels: str) -> float:
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    return total


@pytest.fixture
def own(tmp_path: Path, artifact_path: Path) -> Iterator[RunningServer]:
    """A server whose figures nobody else changes."""
    with RunningServer(tmp_path, artifact_path) as running:
        yield running


def scraped(server: RunningServer) -> Figures:
    return figures_of(server.client.get("/metrics").text)


def test_who_may_read_them(server: RunningServer) -> None:
    assert_problem(httpx.get(f"{server.url}/metrics"), 401, "unauthorized")
    for role in Role:
        with server.new_client(role) as client:
            response = client.get("/metrics")
            if role in {Role.METRICS, Role.ADMIN}:
                assert response.status_code == 200
                assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            else:
                assert_problem(response, 403, "forbidden")
    with server.new_client(Role.METRICS) as client:
        assert_problem(client.get("/metrics?name=x"), 422, "invalid-parameter")
        assert_problem(client.get("/predictions"), 403, "forbidden")


def test_predictions_are_counted_by_verdict_and_stage(own: RunningServer, png: bytes) -> None:
    blank = encoded(np.full((96, 96, 3), 255, np.uint8))
    key = {"Idempotency-Key": "one"}
    answers = [
        own.client.post("/predict", content=png, headers=PNG | key).json(),
        own.client.post("/predict", content=png, headers=PNG, params={"rotations": "none"}).json(),
        own.client.post("/predict", content=blank, headers=PNG).json(),
    ]
    replayed = own.client.post("/predict", content=png, headers=PNG | key)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    model = {"model": answers[0]["model"]["name"], "version": answers[0]["model"]["version"]}
    figures = scraped(own)
    assert figures("rosette_predictions_total") == 3
    for decision in ("positive", "negative", "review", "not_assessable"):
        expected = [answer["decision"] for answer in answers].count(decision)
        assert figures("rosette_predictions_total", decision=decision, **model) == expected
    assert figures("rosette_predictions_total", decision="not_assessable") == 1
    for verdict, result in {True: "consistent", False: "inconsistent", None: "not_measured"}.items():
        expected = [answer["consistency"]["consistent"] for answer in answers].count(verdict)
        assert figures("rosette_consistency_total", result=result) == expected
    for stage in ("decode", "quality", "infer", "record", "total"):
        assert figures("rosette_prediction_seconds_count", stage=stage) == 3
    for stage in ("decode", "quality", "infer"):
        seconds = sum(answer["timing_ms"][stage] for answer in answers) / 1000
        assert figures("rosette_prediction_seconds_sum", stage=stage) == pytest.approx(seconds)
    parts = sum(figures("rosette_prediction_seconds_sum", stage=stage) for stage in ("decode", "infer", "record"))
    assert figures("rosette_prediction_seconds_sum", stage="total") >= parts


def test_requests_and_problems_are_counted_by_route(own: RunningServer, png: bytes) -> None:
    own.client.get("/predictions/01a21183-d8b0-706a-a125-b6a66ccbaa4b")
    own.client.get("/predictions/01a21183-d8b0-706a-a125-b6a66ccbaa4c")
    own.client.post("/predict", content=png[:60], headers=PNG)
    httpx.get(f"{own.url}/predictions")
    httpx.get(f"{own.url}/docs")
    figures = scraped(own)
    read = {"route": "/predictions/{prediction_id}", "method": "GET", "status": "404"}
    assert figures("rosette_requests_total", **read) == 2
    assert figures("rosette_request_seconds_count", route=read["route"]) == 2
    assert figures("rosette_requests_total", route="/predict", method="POST", status="422") == 1
    assert figures("rosette_requests_total", route="none", status="401") == 1
    assert figures("rosette_requests_total", route="/docs", status="200") == 1
    assert figures("rosette_problems_total", problem="unknown-prediction") == 2
    assert figures("rosette_problems_total", problem="truncated-image") == 1
    assert figures("rosette_problems_total", problem="unauthorized") == 1
    assert figures("rosette_problems_total") == 4
    assert figures("rosette_predictions_total") == 0


def test_nobody_can_choose_a_label(own: RunningServer) -> None:
    own.client.request("PROPFIND", "/predict")
    before = own.client.get("/metrics").text
    for number in range(20):
        own.client.request(("PROPFIND", "SEARCH", "PURGE")[number % 3], "/predict")
        own.client.request(f"BREW{number}", "/predict")  # refused by the parser
        own.client.get(f"/nowhere/chosen-{number}")
        own.client.get("/livez", headers={"X-Request-ID": f"chosen-{number}", "Host": f"chosen-{number}"})
        own.client.get(f"/predictions/chosen-{number}")
        own.client.get(f"/admin/models/chosen-{number}/file")
    after = own.client.get("/metrics").text
    assert "chosen" not in after
    assert not any(name in after for name in ("BREW", "PROPFIND", "SEARCH", "PURGE"))
    assert figures_of(after)("rosette_requests_total", method="other") == 21
    assert figures_of(after)("rosette_requests_total", route="none", method="GET", status="404") == 20
    assert figures_of(before)("rosette_requests_total", method="other") == 1


def test_the_active_model_and_the_process_are_told(own: RunningServer) -> None:
    figures = scraped(own)
    model = own.services.model
    name, version = model.manifest.name, model.manifest.version
    assert figures("rosette_model_info", name=name, version=version, sha256=model.sha256) == 1
    assert figures("process_cpu_seconds_total") > 0
    assert figures("process_resident_memory_bytes") > 10_000_000
    assert figures("rosette_workers") == own.settings.inference_processes


def test_a_server_without_a_model_tells_none(tmp_path: Path) -> None:
    with RunningServer(tmp_path, tmp_path / "missing.int8.onnx") as running:
        assert scraped(running)("rosette_model_info") == 0


def test_the_queue_and_the_shadows_losses_are_those_of_the_moment(
    tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    names = ("rosette_workers", "rosette_workers_running", "rosette_queue_depth", "rosette_shadow_dropped_total")
    with (
        RunningServer(tmp_path, artifact_path, inference_processes=1, queue=1) as running,
        ThreadPoolExecutor() as pool,
    ):
        with all_at_work(running, png):
            waits = pool.submit(running.client.post, "/predict", content=png, headers=PNG)
            deadline = monotonic() + 120
            while running.services.pool.waiting == 0:
                assert monotonic() < deadline
            busy = scraped(running)
            assert running.client.post("/predict", content=png, headers=PNG).status_code == 503
        assert waits.result().status_code == 200
        running.services.shadow.dropped = 7
        idle = scraped(running)
    assert [busy(name) for name in names] == [1, 1, 1, 0]
    assert [idle(name) for name in names] == [1, 0, 0, 7]


def test_two_applications_have_figures_of_their_own(server: RunningServer, own: RunningServer, png: bytes) -> None:
    assert server.client.post("/predict", content=png, headers=PNG).status_code == 200
    assert scraped(server)("rosette_predictions_total") >= 1
    assert scraped(own)("rosette_predictions_total") == 0
