"""Traces, received by a local collector."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError

from app.settings import Settings
from tests.app.conftest import RunningServer
from tests.app.test_process import environment
from tests.conftest import ROOT

PNG = {"Content-Type": "image/png"}


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP.

    Attributes:
        asked: path and content type of every request.
        spans: all that came.
        resource: what the last request said of its sender.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Receiver)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Content-Type"]))
        self.server.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.server.resource = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_prediction_is_traced_with_its_stages(
    tmp_path: Path, artifact_path: Path, collector: Collector, png: bytes
) -> None:
    with RunningServer(tmp_path, artifact_path, otlp_endpoint=collector.url) as server:
        headers = PNG | {"X-Request-ID": "mine"}
        answer = server.client.post("/predict?case_id=secret-case", content=png, headers=headers).json()
    assert set(collector.asked) == {("/v1/traces", "application/x-protobuf")}
    assert collector.resource["service.name"] == "rosette"
    [request] = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert request.name == "POST /predict"
    assert not request.parent_span_id
    assert attributes(request) == {
        "rosette.request_id": "mine",
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
    }
    stages = sorted(
        (span for span in collector.spans if span is not request), key=lambda span: span.start_time_unix_nano
    )
    assert [span.name for span in stages] == ["decode", "quality", "infer", "record"]
    for span in stages:
        assert (span.trace_id, span.parent_span_id) == (request.trace_id, request.span_id)
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    for span in stages[:3]:
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert took == pytest.approx(answer["timing_ms"][span.name], abs=1e-3)
    for earlier, later in pairwise(stages):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano
    assert b"secret" not in b"".join(collector.bodies)


def test_nothing_that_identifies_anybody_is_sent(
    tmp_path: Path, artifact_path: Path, collector: Collector, png: bytes
) -> None:
    with RunningServer(tmp_path, artifact_path, otlp_endpoint=collector.url) as server:
        server.client.get("/predictions/secret-id", headers={"User-Agent": "secret-agent", "tracestate": "secret=1"})
        server.client.request("PROPFIND", "/secret-path?secret-query")
        server.client.get("/livez", headers={"baggage": "secret=1", "Host": "secret", "traceparent": "secret"})
        key = server.key
    assert {span.name for span in collector.spans} == {"GET /predictions/{prediction_id}", "other", "GET /livez"}
    sent = b"".join(collector.bodies)
    assert b"secret" not in sent
    assert key.encode() not in sent


def test_the_callers_trace_goes_on(tmp_path: Path, artifact_path: Path, collector: Collector) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with RunningServer(tmp_path, artifact_path, otlp_endpoint=collector.url + "/") as server:
        server.client.get("/livez", headers={"traceparent": f"00-{trace}-{parent}-01"})
    [span] = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)


def test_a_failure_is_marked(tmp_path: Path, collector: Collector) -> None:
    with RunningServer(tmp_path, tmp_path / "missing.int8.onnx", otlp_endpoint=collector.url) as server:
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/nowhere").status_code == 404
    failed = {span.name: span.status.code for span in collector.spans}
    assert failed == {"GET /readyz": Status.STATUS_CODE_ERROR, "GET": Status.STATUS_CODE_UNSET}


def test_nobody_is_called_unless_the_setting_says_so(
    tmp_path: Path, artifact_path: Path, collector: Collector, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.setenv(name, collector.url)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    with RunningServer(tmp_path, artifact_path) as server:
        assert server.client.post("/predict", content=png, headers=PNG).status_code == 200
    assert collector.asked == []


def test_the_environment_cannot_send_the_traces_elsewhere(
    tmp_path: Path, artifact_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/elsewhere")
    with RunningServer(tmp_path, artifact_path, otlp_endpoint=collector.url) as server:
        server.client.get("/livez")
    assert [span.name for span in collector.spans] == ["GET /livez"]


def test_a_collector_that_is_away_stops_no_answer(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with RunningServer(tmp_path, artifact_path, otlp_endpoint="http://127.0.0.1:9") as server:
        assert server.client.post("/predict", content=png, headers=PNG).status_code == 200


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "grpc://host:4317",
        "http:///path",
        "http://user:key@host",
        "http://host?key=x",
        "http://host:x",
    ],
)
def test_an_unfit_endpoint_is_refused_without_showing_it(endpoint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(otlp_endpoint=endpoint)
    assert "otlp_endpoint" in str(refused.value)
    assert endpoint not in str(refused.value)


def test_without_the_packages_the_start_says_what_to_do(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; sys.modules['opentelemetry.exporter'] = None;"
        "from model_zoo.cli import main; sys.argv[1:] = ['serve']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path, OTLP_ENDPOINT="http://127.0.0.1:9"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "pip install '.[telemetry]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_setting_the_packages_are_not_loaded() -> None:
    program = "import json, sys, app.main; app.main.create_app(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = json.loads(done.stdout)
    assert "app.telemetry" in modules
    assert not [name for name in modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
