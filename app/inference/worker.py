"""The server's end of one inference process."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from app.inference.frames import FrameError, Frames, Header, frame, read
from app.inference.model import Model
from model_zoo.manifest import Manifest
from model_zoo.opening import ModelError
from model_zoo.proof import Report, Step

PATIENCE_S = 60.0
END_S = 5.0

log = logging.getLogger("rosette.inference")


class WorkerEnded(RuntimeError):  # noqa: N818 - a state
    """The process has ended, or does not answer."""


class Worker(asyncio.Protocol):
    """An inference process. Models go to it from any thread, patches from the event loop.

    Args:
        helpers: threads that may help it with an orbit.
        answered: is given each answer to a job, in the event loop.
        ended: is told when the process is gone, in the event loop.
    """

    def __init__(
        self, helpers: int, answered: Callable[[Worker, Header, list[bytes]], None], ended: Callable[[Worker], None]
    ) -> None:
        self._answered = answered
        self._ended = ended
        self._frames = Frames()
        self._transport: asyncio.WriteTransport | None = None
        self._telling = threading.Lock()
        self._jobs, jobs = socket.socketpair()
        self._control, control = socket.socketpair()
        self._control.settimeout(PATIENCE_S)
        self._replies = self._control.makefile("rb")
        with jobs, control:
            passed = (jobs.fileno(), control.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.inference.process", *map(str, passed), str(helpers)],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, data: bytes) -> Model:
        """Have the process open a model, and prove it.

        Raises:
            ModelError: if it cannot be used.
            WorkerEnded: if the process has ended.
        """
        reply = self._told({"open": len(data)}, data)
        if "refused" in reply:
            raise ModelError(reply["refused"])
        try:
            manifest = Manifest.model_validate_json(reply["manifest"])
        except ValueError as error:
            raise ModelError(f"its manifest cannot be read: {error}") from error
        steps = tuple(Step(**step) for step in reply["steps"])
        return Model(reply["sha256"], data, manifest, Report(steps))

    def drop(self, model_id: str) -> None:
        """Have the process forget a model.

        Raises:
            WorkerEnded: if the process has ended.
        """
        self._told({"drop": model_id})

    def _told(self, header: Header, *attachments: bytes) -> Header:
        with self._telling:
            try:
                self._control.sendall(frame(header, attachments))
                message = read(self._replies)
            except (OSError, FrameError) as error:
                self._process.kill()
                raise WorkerEnded(f"an inference process does not answer: {error}") from error
        if message is None:
            raise WorkerEnded("an inference process has ended")
        return message[0]

    async def attach(self) -> None:
        """Take its answers in the running event loop."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._jobs)

    def send(self, header: Header, files: list[bytes]) -> None:
        """Give it a job; :meth:`attach` must have been called."""
        assert self._transport is not None
        self._transport.write(frame(header, files))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """Tell the process that nothing more comes; in the event loop."""
        if self._transport is not None:
            self._transport.close()

    def wait(self) -> None:
        """Wait until the process has ended, for a while; then end it."""
        self._jobs.close()
        self._replies.close()
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._process.kill()
        self._process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for header, attachments in self._frames.feed(data):
                self._answered(self, header, attachments)
        except ValueError as error:
            log.error("an inference process is ended: %s", error)
            self._process.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(self)
