"""A server's processes: what they cost, and how they stand still while others are measured (Linux)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
STOP_S = 20.0
_GONE = (FileNotFoundError, ProcessLookupError)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _fields(pid: int) -> list[str]:
    """What ``/proc/PID/stat`` says after the name: the state, the parent, …"""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def family(root: int) -> list[int]:
    """A process and all that come from it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(*_GONE):
                children.setdefault(int(_fields(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += sorted(children.get(pid, []))
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time, user and system, of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(*_GONE):
            total += sum(map(int, _fields(pid)[11:15]))
    return total / TICKS


def _kilobytes(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(*_GONE):
        for line in (PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def pss_mb(pids: Iterable[int]) -> float:
    """Memory of processes now; what they share counts once."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def peak_rss_mb(pids: Iterable[int]) -> float:
    """The sum of each process's own largest resident size; what they share counts for each."""
    return sum(_kilobytes(pid, "status", "VmHWM:") for pid in pids) / 1024


class Family:
    """A server that runs, with the processes that it started."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output

    @property
    def pids(self) -> list[int]:
        return family(self.process.pid)

    def pause(self) -> None:
        """Stop every process where it stands: an idle server costs those that are measured nothing."""
        self._signal(self.pids, signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(reversed(self.pids), signal.SIGCONT)

    def end(self) -> None:
        """Ask the server to end, and kill what is left of it."""
        pids = self.pids
        self._signal(reversed(pids), signal.SIGCONT)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self._signal(pids, signal.SIGKILL)
        self.process.wait()

    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """The end of what it printed."""
        return self.output.read_text(errors="replace")[-2000:]

    @staticmethod
    def _signal(pids: Iterable[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def launch(command: list[str], environment: dict[str, str], folder: Path) -> Family:
    """Start a server in a folder of its own, which gets its output."""
    folder.mkdir(parents=True)
    output = folder / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Family(process, output)


@contextmanager
def watching_memory(pids: list[int], every_s: float) -> Iterator[list[float]]:
    """Collect the processes' memory in MB, now and then, into the list that is given, until the block ends."""
    seen, over = [pss_mb(pids)], threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            seen.append(pss_mb(pids))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(pss_mb(pids))
