"""Load test of Rosette, onnxruntime alone and other servers with the same artifact, in one run on one machine.

    python -m benchmarks.load              # everything: about 19 minutes
    python -m benchmarks.load --rounds 3   # about 13 minutes, wider intervals
    python -m benchmarks.load --quick      # a test of the benchmark itself; its figures are not valid
    python -m benchmarks.load --without-avx512  # as on a CPU without VNNI, for which the targets are
    python -m benchmarks.load --report     # write docs/performance.md from docs/results/load.json, measure nothing

The ratios are measured with the artifacts 0.3.1 in `benchmarks/artifacts`, so that they compare with earlier runs; a
few rows are measured with the shipped artifacts, too. One contender is Rosette at an earlier commit (`EARLIER` in
`contenders.py`).

Needs Linux, git and wrk. Writes `docs/results/load.json` and `docs/performance.md`. All servers of a model are started,
and each must return the artifact's logits; then they are measured in turn, and the others are paused (SIGSTOP).
The other servers have virtual environments in `$XDG_CACHE_HOME/rosette-benchmarks`; `--install` makes them beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load import measure
from benchmarks.load.about import about
from benchmarks.load.contenders import BEFORE, CONTENDERS, DECODE, NONE, PEERS, RAW, ROOT, Contender, Server, images
from benchmarks.load.contenders import FULL as WITH_TURNS
from benchmarks.load.environments import cache, environment
from benchmarks.load.hidden import HidingError, hide_avx512
from benchmarks.load.measure import CONNECTIONS, FULL, QUICK, Pace
from benchmarks.load.report import page
from benchmarks.load.wrk import Request

PARTS = ("closed", "connections", "open", "overload", "shipped")
MODELS = ("accurate", "fast")
OTHER_ROUNDS, SHARES = 3, (0.5, 0.9)
OPEN = {"accurate": (NONE, "LitServe", "BentoML", "MLServer"), "fast": (NONE,)}
BY_CONNECTIONS = {
    ("accurate", 1): (*OPEN["accurate"], DECODE, WITH_TURNS),
    ("accurate", 32): (*OPEN["accurate"], BEFORE),
    ("fast", 1): (NONE, DECODE),
    ("fast", 32): (NONE, BEFORE),
}
WITHOUT_SERVER = ("raw", "raw+decode")
SHIPPED = (RAW, DECODE, NONE, WITH_TURNS)
RESULTS, PAGE = ROOT / "docs" / "results" / "load.json", ROOT / "docs" / "performance.md"

Turn = tuple[Contender, Request | None, Server | None]


class Run:
    """The measurements of one model.

    Args:
        model: how results call it.
        contenders: who takes part.
    """

    def __init__(
        self, model: str, artifact: Path, folder: Path, pace: Pace, cores: int, contenders: Sequence[Contender]
    ) -> None:
        self.model = model
        self.contenders = contenders
        self.artifact = artifact
        self.folder = folder
        self.pace = pace
        self.cores = cores
        self.files: dict[str, Path] = {}
        self.turns: dict[str, Turn] = {}
        for name, data in images().items():
            self.files[name] = folder / f"patch.{name}"
            self.files[name].write_bytes(data)

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Start the servers, check that they return the artifact's logits, and pause them."""
        with ExitStack() as stack:
            running = {}
            for name in dict.fromkeys(each.server for each in self.contenders if each.server not in WITHOUT_SERVER):
                running[name] = Server(name, self.artifact, self.folder, self.cores)
                stack.callback(running[name].family.end)
            for contender in self.contenders:
                if (server := running.get(contender.server)) is None:
                    self.turns[contender.name] = (contender, None, None)
                elif request := server.check(contender, self.files[contender.image].read_bytes()):
                    self.turns[contender.name] = (contender, request, server)
                else:
                    say(f"{self.model}: no route for {contender.name!r}: left out")
            for server in running.values():
                server.family.pause()
            yield

    def closed(self, names: list[str], connections: int, rounds: int) -> list[dict[str, Any]]:
        """Measure the contenders in turn, every other round in reverse order."""
        rows = []
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                contender, request, server = self.turns[name]
                if request is None or server is None:
                    image = self.files[contender.image]
                    threads = min(self.cores, connections)
                    figures = measure.raw(contender, image, self.artifact, threads, self.pace.seconds)
                    figures["connections"] = connections
                else:
                    figures = measure.load(contender, request, server, self.pace, connections)
                rows.append(self._row(name, figures | {"round": number}))
        return rows

    def open(self, capacities: dict[str, float]) -> list[dict[str, Any]]:
        """Requests at a constant rate, a share of each contender's closed-loop throughput."""
        rows = []
        for name, capacity in capacities.items():
            contender, request, server = self.turns[name]
            assert request is not None
            assert server is not None
            for share in SHARES:
                figures = measure.load(contender, request, server, self.pace, 0, share * capacity)
                rows.append(self._row(name, figures | {"share": share}))
        return rows

    def overload(self) -> dict[str, Any]:
        contender, request, server = self.turns[NONE]
        assert request is not None
        assert server is not None
        return self._row(NONE, measure.overload(contender, request, server, self.pace))

    def _row(self, name: str, figures: dict[str, Any]) -> dict[str, Any]:
        rounded: dict[str, Any] = shortened(figures)
        say(f"{self.model}: {name}: " + ", ".join(f"{key} {value}" for key, value in rounded.items()))
        return {"model": self.model, "contender": name} | rounded


def shortened(value: Any) -> Any:
    """A copy with floats rounded to four decimals."""
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: shortened(each) for key, each in value.items()}
        case list():
            return [shortened(each) for each in value]
    return value


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def median_of(rows: list[dict[str, Any]], name: str) -> float:
    found = sorted(row["patches_s"] for row in rows if row["contender"] == name)
    return float(found[len(found) // 2])


def measured(models: list[str], parts: list[str], pace: Pace, without_avx512: bool = False) -> dict[str, Any]:
    """Measure these parts of these models.

    Raises:
        HidingError: if AVX-512 shall be hidden and cannot be.
    """
    began, cores = time.monotonic(), len(os.sched_getaffinity(0))
    cache().mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {part: [] for part in parts}
    with TemporaryDirectory(dir=cache()) as temporary:
        results["about"] = about(cores, Path(temporary)) | {
            "pace": vars(pace),
            "image_bytes": {name: len(data) for name, data in images().items()},
            "contenders": {each.name: each.what for each in CONTENDERS},
            "artifacts": {},
            "avx512_hidden": without_avx512,
        }
        if without_avx512:
            hide_avx512(Path(temporary))
        for model in models:
            [artifact] = (ROOT / "benchmarks" / "artifacts").glob(f"{model}-*.int8.onnx")
            _measure(_run(model, artifact, Path(temporary), pace, cores, results), parts, results)
        for model in models if "shipped" in parts else ():
            [artifact] = (ROOT / "model_zoo").glob(f"{model}-*.int8.onnx")
            run = _run(
                artifact.name.removesuffix(".int8.onnx"), artifact, Path(temporary), pace, cores, results, SHIPPED
            )
            with run.servers():
                results["shipped"] += run.closed(list(run.turns), CONNECTIONS, min(OTHER_ROUNDS, pace.rounds))
    results["about"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    return results


def _run(
    model: str, artifact: Path, folder: Path, pace: Pace, cores: int, results: dict[str, Any], names: Sequence[str] = ()
) -> Run:
    """A run in a folder of its own; all contenders of the model take part if none are named."""
    results["about"]["artifacts"][model] = artifact.name
    (folder / model).mkdir()
    contenders = [each for each in CONTENDERS if (each.name in names if names else model == MODELS[0] or each.quick)]
    return Run(model, artifact, folder / model, pace, cores, contenders)


def _measure(run: Run, parts: list[str], results: dict[str, Any]) -> None:
    with run.servers():
        closed = []
        if "closed" in parts:
            closed = run.closed(list(run.turns), CONNECTIONS, run.pace.rounds)
            results["closed"] += closed
        if "connections" in parts:
            for (model, connections), names in BY_CONNECTIONS.items():
                if model == run.model:
                    rounds = min(OTHER_ROUNDS, run.pace.rounds)
                    results["connections"] += run.closed(list(names), connections, rounds)
        if "open" in parts:
            names = OPEN[run.model]
            known = closed or run.closed(list(names), CONNECTIONS, 1)
            results["open"] += run.open({name: median_of(known, name) for name in names})
        if "overload" in parts and run.model == MODELS[0]:
            results["overload"].append(run.overload())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short measurements and few rounds")
    parser.add_argument("--rounds", type=int, help="rounds of the main part, instead of 6: fewer widen the intervals")
    parser.add_argument("--install", action="store_true", help="install what is missing of the others, measure nothing")
    parser.add_argument("--report", action="store_true", help="write the page from the results, measure nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--without-avx512", action="store_true", help="hide AVX-512 from all programs by CPUID faulting"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that is made from it")
    options = parser.parse_args()
    if options.install:
        for name in PEERS:
            print(name, environment(name))
        return
    if not options.report:
        if shutil.which("wrk") is None:
            parser.error("wrk is not installed: Debian and Ubuntu have it as the package wrk")
        pace = QUICK if options.quick else FULL
        pace = replace(pace, rounds=options.rounds or pace.rounds)
        try:
            results = measured(options.models, options.only, pace, options.without_avx512)
        except HidingError as error:
            parser.error(str(error))
        options.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    options.page.write_text(page(json.loads(options.results.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
