"""What metrics say of slides; they stand apart from patches."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.records.slide_runs import RunState


class SlideFigures(Collector):
    """Counts of one server process; any thread may feed them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[RunState] = Counter()
        self._cells = 0
        self._running = 0

    def scored(self, cells: int) -> None:
        with self._lock:
            self._cells += cells

    def began(self) -> None:
        self._running = 1

    def paused(self) -> None:
        self._running = 0

    def ended(self, state: RunState) -> None:
        with self._lock:
            self._ended[state] += 1

    def collect(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("rosette_slide_runs", "Runs of whole slides that ended here.", labels=["state"])
        for state in ("complete", "failed", "cancelled"):
            runs.add_metric([state], self._ended[state])
        yield runs
        yield CounterMetricFamily("rosette_slide_cells", "Cells of whole slides that were done here.", self._cells)
        yield GaugeMetricFamily("rosette_slide_running", "Whether a slide is being scored here.", self._running)
