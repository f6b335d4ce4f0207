"""Servers in separate processes, which tests can kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from tests.homes import furnish
from tests.scale import scaled

KEY = "the-soak-test-brings-its-own-admin-key"
START_S = 300.0  # for a machine at its limits; one that hangs takes for ever
KILLS = int(os.environ.get("ROSETTE_TEST_KILLS") or scaled(3, 50))


def family(pid: int) -> list[int]:
    """A process, and those that it and its descendants started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    started = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [pid, *(each for child in started for each in family(child))]


def memory_kb(pid: int, kind: Literal["Pss", "Pss_Anon"] = "Pss") -> int:
    """What a process and its descendants hold in memory, with what they share counted once.

    ``Pss_Anon`` leaves out mapped files, whose share changes when servers of other tests begin and end.
    """
    rollups = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in family(pid)]
    return sum(int(rollup.partition(f"\n{kind}:")[2].split()[0]) for rollup in rollups)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process and its descendants have taken."""
    stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family(pid)]
    return sum(int(ticks) for stat in stats for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")


class Server:
    """``rosette serve`` in a process of its own, its output drained so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url: str | None = None
        self._output: list[str] = []
        self._listens = threading.Event()
        assert process.stdout is not None
        self._drain = threading.Thread(target=self._read, args=[process.stdout])
        self._drain.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._output.append(line)
            if " listens at " in line:
                self.url = line.partition(" listens at ")[2].split()[0].rstrip(",")
                self._listens.set()
        self._listens.set()

    def wait_until_it_listens(self) -> str:
        self._listens.wait(START_S)
        assert self.url is not None, "the server did not start:\n" + "".join(self._output)
        return self.url

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._drain.join()


@contextmanager
def serving(home: Path, model: Path | None, **settings: str) -> Iterator[Server]:
    """``rosette serve`` with these variables; a home without a database gets that of a first start."""
    if "ROSETTE_DATABASE_URL" not in settings:
        furnish(home, model)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTE_")}
    environment |= {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0", "ROSETTE_MODEL": str(model or "")}
    environment |= {"ROSETTE_INFERENCE_PROCESSES": "1"} | settings  # starts faster, a hundred times
    command = [str(Path(sys.executable).with_name("rosette")), "serve"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Server(process)
        try:
            yield server
        finally:
            server.kill()
