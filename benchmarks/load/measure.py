"""One measurement: load on one server for some seconds, and its cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import wrk
from benchmarks.load.contenders import Contender, Server
from benchmarks.load.processes import Family, cpu_s, peak_rss_mb, pss_mb, watching_memory
from benchmarks.load.wrk import Load, Request

RAW_SCRIPT = Path(__file__).with_name("raw.py")
TIMES, CONNECTIONS = 3, 8
LIVEZ_S, PROBES, PROBES_S = 20.0, 4, 5.0
MEMORY_EVERY_S = 2.0
COOL_S = 0.2


@dataclass(frozen=True)
class Pace:
    """Durations in seconds, and the number of rounds.

    Attributes:
        for_figures: whether it is long enough for valid figures.
    """

    rounds: int
    seconds: int
    warm_up: int
    overload: int
    for_figures: bool = True


FULL = Pace(rounds=6, seconds=4, warm_up=1, overload=60)
QUICK = Pace(rounds=1, seconds=1, warm_up=1, overload=5, for_figures=False)


@contextmanager
def awake(family: Family) -> Iterator[list[int]]:
    """Resume a paused server within the block; yields its processes."""
    family.resume()
    try:
        yield family.pids
    finally:
        time.sleep(COOL_S)
        family.pause()


def raw(contender: Contender, image: Path, artifact: Path, threads: int, seconds: int) -> dict[str, Any]:
    """onnxruntime alone, in a separate process."""
    command = [sys.executable, str(RAW_SCRIPT), str(image), str(threads), str(seconds)]
    command += ["--decode"] if contender.server == "raw+decode" else []
    environment = os.environ | {"ARTIFACT": str(artifact)}
    told = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return {
        "patches_s": told["requests"] / told["seconds"],
        "p50_ms": told["p50_ms"],
        "p99_ms": told["p99_ms"],
        "cpu_ms": told["cpu_s"] / told["requests"] * 1e3,
        "peak_rss_mb": told["rss_mb"],
        "requests": told["requests"],
        "errors": 0,
    }


def load(
    contender: Contender, request: Request, server: Server, pace: Pace, connections: int, rate: float | None = None
) -> dict[str, Any]:
    """A server under load: closed loop, or open loop when there is a ``rate`` of patches a second."""
    requests_s = None if rate is None else rate / contender.patches
    connections = contender.connections(connections) if requests_s is None else wrk.pool(requests_s)
    with awake(server.family) as pids:
        wrk.run(request, pace.warm_up, connections, requests_s)
        before = cpu_s(pids)
        seen = wrk.run(request, pace.seconds, connections, requests_s)
        spent = cpu_s(pids) - before
        memory = {"pss_mb": pss_mb(pids), "peak_rss_mb": peak_rss_mb(pids)}
    patches = max(seen.requests, 1) * contender.patches
    figures: dict[str, Any] = {
        "connections": connections,
        "patches_s": seen.requests * contender.patches / seen.seconds,
        "p50_ms": seen.latency_ms(0.5),
        "p99_ms": seen.latency_ms(0.99),
        "cpu_ms": spent / patches * 1e3,
        "load_cpu_ms": seen.cpu_s / patches * 1e3,
        "requests": seen.requests,
        "errors": seen.errors,
    }
    if rate is not None:
        figures |= {"rate": rate, "late": seen.late / max(seen.slots, 1)}
    return figures | memory


def overload(contender: Contender, request: Request, server: Server, pace: Pace) -> dict[str, Any]:
    """Overload: three times the capacity, with the latencies of clients and of ``/livez``.

    In addition to the load, a few probe connections measure the latency by status.
    """
    capacity = load(contender, request, server, pace, CONNECTIONS)["patches_s"]
    rate = TIMES * capacity
    livez = Request(request.url.partition("/predict")[0] + "/livez", method="GET")
    connections = wrk.pool(rate)
    with awake(server.family) as pids:
        before, began = cpu_s(pids), time.monotonic()
        with watching_memory(pids, MEMORY_EVERY_S) as memory:
            alive = wrk.start(livez, pace.overload, 1, rate=LIVEZ_S, mode="probe")
            probes = wrk.start(request, pace.overload, PROBES, threads=PROBES, rate=PROBES_S, mode="probe")
            flood = wrk.start(request, pace.overload, connections, rate=rate, mode="count")
            seen = wrk.finish(flood, connections)
            probed, lived = wrk.finish(probes, PROBES), wrk.finish(alive, 1)
        cores_busy = (cpu_s(pids) - before) / (time.monotonic() - began)
    answered = seen.statuses.get("200", 0) + sum(status == 200 for status, _ in probed.samples)
    return {
        "capacity": capacity,
        "rate": rate,
        "seconds": seen.seconds,
        "connections": connections,
        "offered": seen.requests / seen.seconds,
        "late": seen.late / max(seen.slots, 1),
        "statuses": seen.statuses,
        "goodput": answered / seen.seconds,
        "goodput_of_capacity": answered / seen.seconds / capacity,
        "broken": seen.errors - sum(count for status, count in seen.statuses.items() if int(status) >= 400),
        "answered": _latencies(probed, 200),
        "refused": _latencies(probed, 503),
        "livez": _latencies(lived, 200),
        "memory_mb": memory,
        "server_cores": cores_busy,
        "load_cores": (seen.cpu_s + probed.cpu_s + lived.cpu_s) / seen.seconds,
    }


def _latencies(seen: Load, status: int) -> dict[str, Any]:
    """Percentiles of the latency, in ms, of probe requests with this status."""
    found = sorted((latency, 1) for given, latency in seen.samples if given == status)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {"n": len(found)} | {name: wrk.percentile(found, share) for name, share in shares.items()}
