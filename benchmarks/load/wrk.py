"""Load by wrk: closed loop (each connection sends when it has its answer) or open loop (requests are due at a rate)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_S = 10
SPARE_S = 1.0
FEWEST, MOST = 16, 512


@dataclass(frozen=True)
class Request:
    """The request that wrk repeats.

    Attributes:
        headers: lines such as ``Content-Type: image/jpeg``.
        body: a file.
    """

    url: str
    method: str = "POST"
    headers: tuple[str, ...] = ()
    body: Path | None = None


@dataclass(frozen=True)
class Load:
    """The measurements of wrk.

    Attributes:
        seconds: duration of the measurement.
        latencies_us: pairs of a latency and its number of requests, ascending.
        errors: requests that timed out, and answers with status 400 and above.
        cpu_s: CPU time of wrk.
        slots, late: open loop: requests that were due, and those for which no connection was free within 5 ms.
        statuses: answers by status, if counted.
        samples: status and milliseconds of each request, if probed.
    """

    requests: int
    seconds: float
    latencies_us: list[tuple[int, int]]
    errors: int
    cpu_s: float
    slots: int = 0
    late: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    samples: list[tuple[int, float]] = field(default_factory=list)

    def latency_ms(self, share: float) -> float | None:
        """The latency that this share of the requests did not exceed; None without requests."""
        return percentile(self.latencies_us, share, 1e3)


def percentile(histogram: Sequence[tuple[float, int]], share: float, unit: float = 1.0) -> float | None:
    """The least value of an ascending histogram that at least this share does not exceed, over ``unit``."""
    wanted, seen = share * sum(count for _, count in histogram), 0
    for value, count in histogram:
        seen += count
        if seen >= wanted:
            return value / unit
    return None


def measured(histogram: Sequence[tuple[int, int]], requests: int, interval: int) -> list[tuple[int, int]]:
    """The measured latencies, without those that wrk before 4.2 adds.

    For each latency above twice the mean ``interval`` of a connection's requests it adds latency − interval,
    latency − 2·interval … above the interval, to correct coordinated omission, which does not apply to a closed loop.
    Starting from the greatest latency, the added values are known and are subtracted.
    """
    counts = dict(histogram)
    if interval > 0 and sum(counts.values()) > requests:
        for value in sorted(counts, reverse=True):
            if value <= 2 * interval:
                break
            added = value - interval
            while counts[value] > 0 and added > interval:
                counts[added] = counts.get(added, 0) - counts[value]
                added -= interval
    return sorted((value, count) for value, count in counts.items() if count > 0)


def pool(rate: float) -> int:
    """Number of connections of an open loop: enough for answers that take a second."""
    return min(max(FEWEST, round(rate * SPARE_S)), MOST)


def start(
    request: Request, seconds: int, connections: int, *, threads: int = 1, rate: float | None = None, mode: str = ""
) -> subprocess.Popen[str]:
    """Start wrk.

    Args:
        rate: requests per second of each thread at a constant rate; by default a closed loop.
        mode: ``"count"`` or ``"probe"``; see the script.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WRK_")}
    environment |= {"WRK_METHOD": request.method, "WRK_MODE": mode}
    if request.body is not None:
        environment["WRK_BODY"] = str(request.body)
    if rate is not None:
        environment["WRK_RATE"] = repr(rate)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT_S}s"]
    command += ["-s", str(SCRIPT), *(word for header in request.headers for word in ("-H", header)), request.url]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], connections: int) -> Load:
    """Wait for wrk and read what it measured.

    Raises:
        RuntimeError: with its output, if it failed.
    """
    output, errors = process.communicate()
    found = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if process.returncode or not found:
        raise RuntimeError(f"wrk failed with {process.returncode}:\n{output}{errors}")
    told = json.loads(found[0])
    share = told["requests"] // connections
    interval = told["duration_us"] // share if share else 0
    return Load(
        requests=told["requests"],
        seconds=told["duration_us"] / 1e6,
        latencies_us=measured(told["histogram_us"], told["requests"] - told["timeout"], interval),
        errors=sum(told[name] for name in ("connect", "read", "write", "status", "timeout")),
        cpu_s=told["cpu_s"],
        slots=told["slots"],
        late=told["late"],
        statuses=told["statuses"],
        samples=told["samples"],
    )


def run(request: Request, seconds: int, connections: int, rate: float | None = None, mode: str = "") -> Load:
    """Put load on a server for some seconds."""
    return finish(start(request, seconds, connections, rate=rate, mode=mode), connections)
