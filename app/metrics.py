"""The server's figures for Prometheus.

No label takes a value that a caller can choose: routes are templates, methods and outcomes come from fixed lists,
models are named by administrators.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.inference.model import Prediction
from app.inference.pool import Pool
from app.records.writer import Writer
from app.registry.serving import Serving
from app.registry.shadow import ShadowScorer
from model_zoo.reasons import Code

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_ROUTE = "none"
OTHER_METHOD = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
COUNTED_TOGETHER = 32
Series = tuple[Counter, Histogram]
Stage = Literal["decode", "quality", "infer", "record", "total"]

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_CONSISTENCY = {True: "consistent", False: "inconsistent", None: "not_measured"}

# A second series for each counter and histogram, which says only when it was first used.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counters and histograms of one application, which any thread may feed, and what is read when it is asked for.

    Requests and predictions are counted a few at a time: an inference sweeps the caches, so the first that is counted
    costs as much as ten that follow at once.

    Args:
        pool: whose queue is shown.
        serving: whose model is shown.
        shadow: whose losses are shown.
        writer: whose journal is shown.
        others: figures of slides, of webhooks and of sign-ins.
    """

    def __init__(self, pool: Pool, serving: Serving, shadow: ShadowScorer, writer: Writer, *others: Collector) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("rosette_requests", "Requests.", ("route", "method", "status"), registry=registry)
        self._series: dict[tuple[str, str, str], Series] = {}
        self._timed: deque[tuple[Series, float]] = deque()
        self._answers: deque[tuple[Prediction, float]] = deque()
        self._request_seconds = Histogram(
            "rosette_request_seconds",
            "From a request's headers to the end of its response.",
            ("route",),
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        stages = Histogram(
            "rosette_prediction_seconds",
            "How long a prediction took, by stage.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._stages: dict[Stage, Histogram] = {stage: stages.labels(stage) for stage in get_args(Stage)}
        self._predictions = Counter(
            "rosette_predictions", "Predictions recorded.", ("decision", "basis", "model", "version"), registry=registry
        )
        consistency = Counter(
            "rosette_consistency", "Predictions, by the consistency of their turns.", ("result",), registry=registry
        )
        self._consistency = {verdict: consistency.labels(name) for verdict, name in _CONSISTENCY.items()}
        reasons = Counter(
            "rosette_reasons",
            "Predictions recorded that need review or are not assessable, by reason.",
            ("reason",),
            registry=registry,
        )
        self._reasons = {code: reasons.labels(code) for code in get_args(Code)}
        self._problems = Counter("rosette_problems", "Problems answered.", ("problem",), registry=registry)
        ProcessCollector(registry=registry)
        for each in (_State(pool, serving, shadow, writer), *others):
            registry.register(each)

    def request(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Count a request.

        Args:
            route: the template of its route, None if it matched none or was refused before it was looked up.
            method: one of METHODS or OTHER_METHOD.
            status: of the response, None if the client left before there was any.
            seconds: until the response's end.
        """
        labels = (route or NO_ROUTE, method, "none" if status is None else str(status))
        if (series := self._series.get(labels)) is None:
            series = self._requests.labels(*labels), self._request_seconds.labels(labels[0])
            self._series[labels] = series
        self._timed.append((series, seconds))
        if len(self._timed) >= COUNTED_TOGETHER:
            self._count()

    def problem(self, slug: str) -> None:
        """Count a problem that was answered."""
        self._problems.labels(slug).inc()

    def answered(self, answer: Prediction, record_s: float) -> None:
        """Count a prediction and its stages.

        Args:
            answer: has been recorded.
            record_s: seconds until it was.
        """
        self._answers.append((answer, record_s))
        if len(self._answers) >= COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        """Count what waits; two threads may share it."""
        with suppress(IndexError):
            while True:
                (count, duration), seconds = self._timed.popleft()
                count.inc()
                duration.observe(seconds)
        with suppress(IndexError):
            while True:
                self._count_answer(*self._answers.popleft())

    def _count_answer(self, answer: Prediction, record_s: float) -> None:
        values = answer.values
        stages = self._stages
        stages["decode"].observe(answer.decode_ms / 1000)
        stages["quality"].observe(answer.quality_ms / 1000)
        stages["infer"].observe(answer.infer_ms / 1000)
        stages["record"].observe(record_s)
        stages["total"].observe(values["total_ms"] / 1000 + record_s)
        model = values["model_name"], values["model_version"]
        self._predictions.labels(values["decision"], values["basis"], *model).inc()
        for code in values["reason_codes"].split():
            self._reasons[code].inc()
        self._consistency[values["consistent"]].inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4; takes milliseconds."""
        self._count()
        return generate_latest(self._registry)


class _State(Collector):
    """What is so at the moment of asking."""

    def __init__(self, pool: Pool, serving: Serving, shadow: ShadowScorer, writer: Writer) -> None:
        self._writer = writer
        self._pool = pool
        self._serving = serving
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        pool = self._pool
        yield GaugeMetricFamily("rosette_workers", "Inference processes.", pool.size)
        yield GaugeMetricFamily("rosette_workers_running", "Inference processes that are busy.", pool.running)
        yield GaugeMetricFamily("rosette_queue_depth", "Requests that wait for an inference process.", pool.waiting)
        yield CounterMetricFamily(
            "rosette_workers_replaced", "Inference processes that ended unexpectedly.", pool.replaced
        )
        yield CounterMetricFamily("rosette_shadow_dropped", "Patches not scored by the shadow.", self._shadow.dropped)
        yield GaugeMetricFamily(
            "rosette_records_waiting", "Groups of answers that wait for their commit.", self._writer.waiting
        )
        yield GaugeMetricFamily(
            "rosette_journalled",
            "Answers in this process's journal that are not in the database yet.",
            self._writer.backlog.size,
        )
        info = InfoMetricFamily("rosette_model", "The active model.")
        if (model := self._serving.state.model) is not None:
            name, version = model.manifest.name, model.manifest.version
            info.add_metric([], {"name": name, "version": version, "sha256": model.sha256})
        yield info
