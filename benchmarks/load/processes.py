"""A server's processes: their cost, and pausing them while others are measured (Linux)."""

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
    """The fields of ``/proc/PID/stat`` after the name: state, parent, …"""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def family(root: int) -> list[int]:
    """A process and all its descendants, parents first."""
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
    """CPU time, user and system, of processes and of their ended children."""
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
    """Current memory of processes; shared pages count once."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def peak_rss_mb(pids: Iterable[int]) -> float:
    """The sum of each process's largest resident size; shared pages count for each."""
    return sum(_kilobytes(pid, "status", "VmHWM:") for pid in pids) / 1024


class Family:
    """A running server with its processes."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output

    @property
    def pids(self) -> list[int]:
        return family(self.process.pid)

    def pause(self) -> None:
        """Pause every process, so that idle servers use no CPU time."""
        self._signal(self.pids, signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(reversed(self.pids), signal.SIGCONT)

    def end(self) -> None:
        """Terminate the server, and kill remaining processes."""
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
        """The end of its output."""
        return self.output.read_text(errors="replace")[-2000:]

    @staticmethod
    def _signal(pids: Iterable[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def launch(command: list[str], environment: dict[str, str], folder: Path) -> Family:
    """Start a server in its own folder, which also receives its output."""
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
    """Append the processes' memory in MB to the yielded list at intervals, until the block ends."""
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
