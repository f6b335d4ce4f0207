"""The server's side of the processes that open slides: one for each slide, few at a time, each bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from select import POLLIN, poll
from time import monotonic
from typing import Any

from app.inference.frames import Frames, Header, Message, frame
from app.registry.sandbox import SandboxUnavailable
from app.slides.folders import SlideFile

CHILD = (sys.executable, "-I", "-m", "app.slides.child")
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
PROCESSES = 4
MOST_QUESTIONS = 2000  # then a fresh process, long before its processor time ends
START_S, ANSWER_S = 60.0, 30.0
IDLE_S = 60.0
MOST_BYTES = 2**24
NICENESS = 5


class SlideRefusedError(ValueError):
    """The slide, or a part of it, cannot be read; the message says why."""


class ReaderDiedError(SlideRefusedError):
    """The process that read the slide ended or hung."""


class ReaderEndedError(ReaderDiedError):
    """It ended, perhaps before it was asked."""


class SlideProcess:
    """A process that has one slide open; it answers one question at a time.

    Args:
        file: the slide.

    Raises:
        SlideRefusedError: if it cannot be opened.
        SandboxUnavailable: if the process could not give up its rights.
    """

    def __init__(self, file: SlideFile) -> None:
        self.used_at = monotonic()
        self.asked = 0
        self._lock = threading.Lock()
        self._frames = Frames()
        self._names = names_of(file)
        try:
            self._process = subprocess.Popen(
                CHILD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise SandboxUnavailable(f"the process that opens slides cannot be started: {error}") from error
        try:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            slide = {"root": str(file.root), "relative": str(file.relative), "beside": file.beside and str(file.beside)}
            header, _ = self._exchange(slide, START_S)
            if "unconfined" in header:
                raise SandboxUnavailable(shown(header["unconfined"]))
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **arguments: Any) -> Message:
        """Ask one question; blocks while another is answered.

        Raises:
            SlideRefusedError: if the slide has no answer, or the process died of it.
        """
        with self._lock:
            self.used_at = monotonic()
            self.asked += 1
            try:
                return self._exchange({"do": what} | arguments, ANSWER_S)
            except ReaderDiedError:
                self.close()
                raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether it is asked something."""
        return self._lock.locked()

    @property
    def fit(self) -> bool:
        """Whether it may be asked more."""
        return self.alive and (self.asked < MOST_QUESTIONS or self.busy)

    def close(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _exchange(self, question: Header, timeout_s: float) -> Message:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(frame(question))
            header, attached = self._next(timeout_s)
        except SlideRefusedError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # whatever it wrote
            raise ReaderEndedError(
                f"the process that reads the slide {self._end()}: the file may be damaged"
            ) from error
        if "refused" in header:
            raise SlideRefusedError(self._nameless(header["refused"]))
        if "failed" in header:
            raise ReaderDiedError(
                f"the slide cannot be read ({self._nameless(header['failed'])}): the file may be damaged"
            )
        return header, attached

    def _nameless(self, value: object) -> str:
        """What the process wrote, without the file's name, which not every role may see."""
        return without_names(shown(value), self._names)

    def _next(self, timeout_s: float) -> Message:
        assert self._process.stdout is not None
        readable = poll()
        readable.register(self._process.stdout, POLLIN)
        deadline, received = monotonic() + timeout_s, 0
        while True:
            if not readable.poll(max(0.0, 1e3 * (deadline - monotonic()))):
                raise ReaderDiedError(f"the slide was not read within {timeout_s:g} s: the file may be damaged")
            part = os.read(self._process.stdout.fileno(), 2**20)
            received += len(part)
            if not part or received > MOST_BYTES:
                raise ReaderEndedError(f"the process that reads the slide {self._end()}: the file may be damaged")
            for message in self._frames.feed(part):
                if not isinstance(message[0], dict):
                    raise ValueError("no message")
                return message

    def _end(self) -> str:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "wrote what is no answer"
        return f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"


class SlideProcesses:
    """Processes by slide; the one unused for longest makes room for another."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[tuple[int, ...], SlideProcess]] = OrderedDict()
        self._lock = threading.Lock()
        self._starting: dict[str, threading.Lock] = {}
        self._stopped = False

    def ask(self, file: SlideFile, version: tuple[int, ...], what: str, **arguments: Any) -> Message:
        """Ask a slide's process, which is started if need be; anew if the file has changed.

        Raises:
            SlideRefusedError, SandboxUnavailable: as :class:`SlideProcess`.
        """
        process = self._process_of(file, version)
        try:
            return self._asked(file, process, what, arguments)
        except ReaderEndedError:
            if process.asked == 1:
                raise
            # It may have ended before, so that this question is not to blame.
            return self._asked(file, self._process_of(file, version), what, arguments)

    def _asked(self, file: SlideFile, process: SlideProcess, what: str, arguments: dict[str, Any]) -> Message:
        try:
            return process.ask(what, **arguments)
        except SlideRefusedError:
            if not process.alive:
                self._forget(file.id, process)
            raise

    def close_idle(self) -> None:
        """End the processes that nobody has asked for a minute."""
        with self._lock:
            idle = [key for key, (_, each) in self._open.items() if monotonic() - each.used_at > IDLE_S]
            ended = [self._open.pop(key)[1] for key in idle]
        for process in ended:
            process.close()

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._stopped = True
            ended = [process for _, process in self._open.values()]
            self._open.clear()
        for process in ended:
            process.close()

    @property
    def pids(self) -> list[int]:
        with self._lock:
            return [process._process.pid for _, process in self._open.values()]

    def _process_of(self, file: SlideFile, version: tuple[int, ...]) -> SlideProcess:
        with self._lock:
            starting = self._starting.setdefault(file.id, threading.Lock())
        with starting:
            with self._lock:
                found = self._open.get(file.id)
                if found and found[0] == version and found[1].fit:
                    self._open.move_to_end(file.id)
                    return found[1]
                ended = [self._open.pop(file.id)[1]] if found else []
            for each in ended:
                each.close()
            process = SlideProcess(file)
            with self._lock:
                self._open[file.id] = (version, process)
                ended = self._superfluous(file.id)
                self._starting.pop(file.id, None)
                if self._stopped:
                    ended.append(process)
        for each in ended:
            each.close()
        return process

    def _superfluous(self, new: str) -> list[SlideProcess]:
        """Take out those unused for longest that are too many; none that is at work or new."""
        idle = [key for key, (_, process) in self._open.items() if key != new and not process.busy]
        surplus = max(0, len(self._open) - PROCESSES)
        return [self._open.pop(key)[1] for key in idle[:surplus]]

    def _forget(self, slide_id: str, process: SlideProcess) -> None:
        with self._lock:
            found = self._open.get(slide_id)
            if found and found[1] is process:
                del self._open[slide_id]
        process.close()


def shown(value: object) -> str:
    """What the process wrote, fit to be shown."""
    return "".join(each for each in str(value)[:500] if each.isprintable())


def names_of(file: SlideFile) -> tuple[str, ...]:
    """What messages may call the file; its stem only as a part of a path, for it may be any word."""
    return str(file.path), file.path.name, f"/{file.path.stem}"


def without_names(text: str, names: Sequence[str]) -> str:
    """The text without these names of files."""
    for name in names:
        text = text.replace(name, "(its file)")
    return text
