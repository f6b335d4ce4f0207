"""The table of targets: what is to be reached, and what a run measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.load.figures import DECODE, RAW, Row, beyond, interval, middle, number, paired, rows_of, share, table

NONE, BEFORE = "Rosette, none", "Rosette before, none"
FULL, FULL_INFERENCES, BATCH = "Rosette, full", 6, "Rosette, batch"
PEERS = ("LitServe", "BentoML", "MLServer")
LIVEZ_MS, REFUSED_MS, GOODPUT = 50, 100, 0.9


@dataclass(frozen=True)
class Target:
    """A figure of a contender and another one, within the rounds of one model and number of connections."""

    what: str
    least: float | None
    most: float | None
    figure: Callable[[Row, Row], float | None]
    other: str
    contender: str = NONE
    model: str = "accurate"
    connections: int = 8

    def line(self, rows: list[Row]) -> list[str] | None:
        """A row of the table; None if the run did not measure it."""
        values = paired(rows_of(rows, model=self.model), self.contender, self.other, self.figure)
        if not values:
            return None
        found = median(values)
        met = found >= self.least if self.least is not None else self.most is not None and found <= self.most
        limit = f"≥ {self.least:.2f}" if self.least is not None else f"≤ {self.most:g}"
        return [self.what, limit, interval(values), "yes" if met else "no"]


def targets(results: dict[str, Any]) -> list[str]:
    """The table, for what the run measured."""
    rows = {8: results["closed"]}
    for row in results.get("connections", []):
        rows.setdefault(row["connections"], []).append(row)
    found = [target.line(rows.get(target.connections, [])) for target in _targets(results["closed"])]
    lines = [line for line in found if line]
    lines += [line for row in results.get("overload", []) for line in _overload(row)]
    return ["At 8 connections unless said otherwise.", "", *table(["", "target", "measured", "met"], lines)]


def _targets(closed: list[Row]) -> Iterator[Target]:
    rate, cpu = share("patches_s"), beyond("cpu_ms")
    for model, least in (("accurate", 0.8), ("fast", 0.6)):
        yield Target(f"`{model}`, none, of raw + decode", least, None, rate, DECODE, model=model)
    for connections in (8, 32):
        what = f"`fast`, none, relative to the earlier Rosette, {connections} connections"
        yield Target(what, 1.7, None, rate, BEFORE, model="fast", connections=connections)
    yield Target("`accurate`, none: CPU time per request beyond its inference, ms", None, 0.8, cpu, RAW)
    yield Target("the same per patch of a batch, ms", None, 0.45, cpu, RAW, BATCH)
    turns = share("patches_s", FULL_INFERENCES)
    yield Target(f"`accurate`, full, of raw / {FULL_INFERENCES} inferences", 0.85, None, turns, RAW, FULL)
    if best := _best_peer(rows_of(closed, model="accurate")):
        what = f"`accurate`, none, relative to {best}, the best of the other servers (without a database)"
        yield Target(what, 2.0, None, rate, best)
        yield Target("p99, relative to the same", None, 0.5, share("p99_ms"), best)
    for model in ("accurate", "fast"):
        what = f"`{model}`, none, one connection: p50 over raw + decode in one thread, ms (commit included)"
        yield Target(what, None, 1.5, beyond("p50_ms"), DECODE, model=model, connections=1)


def _best_peer(rows: Sequence[Row]) -> str | None:
    found = {name: middle(rows_of(rows, contender=name), "patches_s") for name in PEERS}
    known = {name: value for name, value in found.items() if value is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _overload(row: Row) -> Iterator[list[str]]:
    goodput, refused, livez = row["goodput_of_capacity"], row["refused"], row["livez"]
    yield ["overload: goodput of capacity", f"≥ {GOODPUT}", number(goodput), "yes" if goodput >= GOODPUT else "no"]
    for what, limit, seen in (("refused within", REFUSED_MS, refused), ("`/livez` within", LIVEZ_MS, livez)):
        if seen["n"]:
            met = "yes" if seen["max_ms"] <= limit else "no"
            found = f"p99 {number(seen['p99_ms'], '.1f')}, slowest {number(seen['max_ms'], '.1f')}"
            yield [f"overload: {what}, ms", f"≤ {limit}", found, met]
