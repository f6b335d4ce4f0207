"""The cost model of docs/scaling.md against runs with one and with two workers of a Dask cluster on this machine.

    python -m benchmarks.slide_cluster SLIDE ARTIFACT --side 16000 --runs 2

A slide of this side is made of the tiles of SLIDE. CPU seconds are counted, so that other programs disturb little.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np

from slides.cells import CELLS_FILE
from slides.reader import Reader, Rectangle
from tests.slides.test_large import TILE, large

START_S = 120.0


@contextmanager
def program(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        started = subprocess.Popen([sys.executable, "-m", *arguments], stdout=file, stderr=subprocess.STDOUT)
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


def found_in(log: Path, pattern: str, times: int = 1) -> str:
    """What a log says, once it has said it so often."""
    deadline = monotonic() + START_S
    while len(found := re.findall(pattern, log.read_text())) < times:
        if monotonic() > deadline:
            raise SystemExit(f"{log} does not say {pattern!r}: {log.read_text()[-500:]}")
        sleep(0.5)
    return str(found[0])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(folder: Path, slide: Path, artifact: Path, workers: int) -> tuple[float, float, list[float], bytes]:
    """Wall-clock seconds, CPU seconds of the main process and of each worker, and the cells."""
    folder.mkdir()
    log, local = folder / "scheduler.log", ("--host=tcp://127.0.0.1", "--port=0", "--no-dashboard", "--no-show")
    with ExitStack() as stack:
        stack.enter_context(program(log, "distributed.cli.dask_scheduler", *local))
        address = found_in(log, r"Scheduler at: +(tcp://\S+)")
        options = ("--nthreads=1", "--no-nanny", "--no-dashboard", f"--local-directory={folder}")
        started = [
            stack.enter_context(program(folder / f"{each}.log", "distributed.cli.dask_worker", address, *options))
            for each in range(workers)
        ]
        found_in(log, "Register worker", workers)
        sleep(2)  # they settle
        before, begun = [cpu_seconds(each.pid) for each in started], monotonic()
        command = [Path(sys.executable).with_name("rosette"), "slide", "score", slide, "--out", folder / "out"]
        command += ["--model", artifact, "--rotations", "none", "--shifts", "none", "--cluster", address]
        main = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(main.pid, 0)
        main.returncode = os.waitstatus_to_exitcode(status)
        if main.returncode:
            raise SystemExit(f"the run failed with {main.returncode}")
        spent = [cpu_seconds(each.pid) - start for each, start in zip(started, before, strict=True)]
        cells = next((folder / "out").glob(f"*/{CELLS_FILE}")).read_bytes()
        return monotonic() - begun, usage.ru_utime + usage.ru_stime, spent, cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--side", type=int, default=16_000)
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args()
    with Reader(given.slide) as reader:
        level = reader.levels[0]
        whole = Rectangle(0, 0, level.width // TILE * TILE, level.height // TILE * TILE)
        pixels = np.ascontiguousarray(reader.read(0, whole)[0][..., 2::-1])
    seen: set[bytes] = set()
    with TemporaryDirectory() as folder:
        slide = large(Path(folder) / "slide.svs", given.side, pixels)
        print("| workers | wall, s | main process, CPU s | workers, CPU s |\n|---|---|---|---|")
        for index in range(given.runs):
            for workers in (1, 2):
                wall, own, each, cells = run(Path(folder) / f"{index}-{workers}", slide, given.artifact, workers)
                seen.add(cells)
                print(f"| {workers} | {wall:.1f} | {own:.1f} | {', '.join(f'{s:.1f}' for s in each)} |", flush=True)
    print("the same cells in all runs" if len(seen) == 1 else "the cells differ")


if __name__ == "__main__":
    main()
