"""The server's side of the process that scores a slide."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from select import POLLIN, poll
from time import monotonic

from app.inference.frames import FrameError, Frames, Header, frame
from app.registry.sandbox import SandboxUnavailable
from app.slides.folders import SlideFile
from app.slides.viewer import ENVIRONMENT, names_of, shown, without_names

CHILD = (sys.executable, "-I", "-m", "app.slides.scoring_child")
TRIED_FILE = "tried"  # in the run's folder: the chunk that is scored, and how often that was begun
LOOK_S = 1.0
STALL_CPU_S = 900.0
STALL_S = 6 * 3600.0
MOST_FRAME_BYTES = 2**16
MOST_CELLS = 2**31 - 1


class ScoringFailedError(ValueError):
    """The slide cannot be scored; the message says why."""


class ScoringDiedError(RuntimeError):
    """The process ended or hung; another one may go on."""


class StoppedError(Exception):
    """Whoever watches wanted it to end."""


@dataclass(frozen=True)
class Order:
    """What is to be scored, and how."""

    file: SlideFile
    work: Path
    rotations: str
    shifts: str
    prevalence: float
    model: bytes

    def message(self) -> bytes:
        file = self.file
        header = {"root": str(file.root), "relative": str(file.relative), "beside": file.beside and str(file.beside)}
        header |= {"slide": file.id, "work": str(self.work), "rotations": self.rotations, "shifts": self.shifts}
        return frame(header | {"prevalence": self.prevalence}, [self.model])


@dataclass
class Progress:
    """Cells that are done, of how many; 0 until that is known."""

    done: int = 0
    total: int = 0


def score(order: Order, progress: Progress, watch: Callable[[Progress], bool]) -> Progress:
    """Score a slide, or go on where its folder says; blocks.

    Args:
        progress: is kept up to date, and given at the end.
        watch: called about once a second; false ends the process at once.

    Raises:
        ScoringFailedError: if the slide cannot be scored.
        ScoringDiedError: if the process died or hung.
        SandboxUnavailable: if it could not give up its rights.
        StoppedError: if ``watch`` said so.
    """
    try:
        process = subprocess.Popen(
            CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise SandboxUnavailable(f"the process that scores slides cannot be started: {error}") from error
    with process:
        try:
            return _followed(process, order, progress, watch)
        except StoppedError:
            process.kill()
            process.wait()
            (order.work / TRIED_FILE).unlink(missing_ok=True)  # the chunk did not end this process
            raise
        finally:
            process.kill()


def _followed(
    process: subprocess.Popen[bytes], order: Order, progress: Progress, watch: Callable[[Progress], bool]
) -> Progress:
    assert process.stdin is not None
    names = names_of(order.file)
    try:
        unsent = memoryview(order.message())
        while unsent:
            unsent = unsent[os.write(process.stdin.fileno(), unsent) :]
        for header in _messages(process, lambda: watch(progress)):
            match header:
                case {"unconfined": why}:
                    raise SandboxUnavailable(shown(why))
                case {"refused": why}:
                    raise ScoringFailedError(without_names(shown(why), names))
                case {"total": int(cells)} if 0 < cells <= MOST_CELLS:
                    progress.total = cells
                case {"done": int(cells)} if 0 <= cells <= progress.total - progress.done:
                    progress.done += cells
                case {"finished": True}:
                    return progress
                case {"confined": True}:
                    pass
                case _:
                    raise ScoringDiedError("wrote what is no answer")
    except (BrokenPipeError, FrameError, KeyError, TypeError, AttributeError) as error:
        raise ScoringDiedError("ended, or wrote what is no answer") from error
    raise ScoringDiedError(f"ended with status {process.wait()}")


def _messages(process: subprocess.Popen[bytes], watch: Callable[[], bool]) -> Iterator[Header]:
    """What the process tells, until it ends."""
    assert process.stdout is not None
    readable, frames = poll(), Frames()
    readable.register(process.stdout, POLLIN)
    looked_at = since = monotonic()
    cpu = 0.0
    while True:
        if monotonic() - looked_at >= LOOK_S:
            looked_at = monotonic()
            if not watch():
                raise StoppedError
            if monotonic() - since > STALL_S or _cpu_seconds(process.pid) - cpu > STALL_CPU_S:
                raise ScoringDiedError("made no progress")
        if not readable.poll(1e3 * LOOK_S):
            continue
        part = os.read(process.stdout.fileno(), MOST_FRAME_BYTES)
        if not part:
            return
        for header, _ in frames.feed(part):
            since, cpu = monotonic(), _cpu_seconds(process.pid)
            yield header


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")
