"""The server's end of one inference process."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from math import inf
from operator import attrgetter
from time import monotonic
from typing import cast

from app.diagnosis.raw import RawPixels
from app.diagnosis.scale import Mpp
from app.inference.frames import FrameError, Frames, Header, frame, read
from app.inference.model import Model, Prediction
from app.inference.starting import started
from app.problems import Busy, ClientGone, ImageProblem
from model_zoo.manifest import Manifest
from model_zoo.occlusion import Occlusion
from model_zoo.opening import ModelError
from model_zoo.orbit import Rotations
from model_zoo.proof import Report, Step
from model_zoo.shifts import Shifts

PATIENCE_S = 60.0
END_S = 5.0
Names = tuple[str | None, str | None, Mpp]
Outcome = Prediction | ImageProblem
_IMAGE_PROBLEMS = {kind.slug: kind for kind in ImageProblem.__subclasses__()}
_files_of, _names_of = attrgetter("files"), attrgetter("names")
log = logging.getLogger("rosette.inference")


class Job:
    """Patches of one request that go to one process; made in the event loop.

    Args:
        files: image files, or raw pixels.
        names: of each, its case's and its slide's pseudonym and what the caller says of its scale.
        gone: whether whoever asked has left; asked just before the job would begin.
        deadline_s: seconds for which the job may wait; then it is refused without having begun.
        shifts, occlusion: whether the patches are also answered at offsets around them, and with parts covered.

    Attributes:
        future: gets an outcome for each patch, or an error.
        as_given: whether each patch takes one inference, so that several jobs can share a call of the network.
    """

    def __init__(
        self,
        model: Model,
        rotations: Rotations,
        files: Sequence[bytes],
        names: Sequence[Names],
        gone: Callable[[], bool] = lambda: False,
        deadline_s: float = inf,
        shifts: Shifts = Shifts.NONE,
        occlusion: Occlusion = Occlusion.NONE,
    ) -> None:
        self.model = model
        self.rotations = rotations
        self.shifts = shifts
        self.occlusion = occlusion
        self.files = files
        self.names = names
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.as_given = rotations is Rotations.NONE and shifts is Shifts.NONE and occlusion is Occlusion.NONE
        self._gone = gone
        self._deadline_s = deadline_s
        self._expires = monotonic() + deadline_s

    def still_wanted(self) -> bool:
        """Whether to begin; if not, whoever asked has been told why."""
        if self.future.cancelled():
            return False
        if self._gone():
            self.future.set_exception(ClientGone("The client has left: its request was not run."))
        elif monotonic() > self._expires:
            self.future.set_exception(Busy(f"No worker was free for {self._deadline_s:g} s: try again in a second."))
        return not self.future.done()


class WorkerEnded(RuntimeError):  # noqa: N818 - a state
    """The process has ended, or does not answer."""


class Worker(asyncio.Protocol):
    """An inference process. Models go to it from any thread, patches from the event loop.

    Args:
        helpers: threads that may help it with an orbit.
    """

    def __init__(self, helpers: int) -> None:
        self._answered: Callable[[Worker, list[Outcome] | None], None]
        self._ended: Callable[[Worker], None]
        self._frames = Frames()
        self._sizes: deque[int] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._telling = threading.Lock()
        self._jobs, jobs = socket.socketpair()
        self._control, control = socket.socketpair()
        self._control.settimeout(PATIENCE_S)
        self._replies = self._control.makefile("rb")
        with jobs, control:
            passed = (jobs.fileno(), control.fileno())
            self._process = started(passed, helpers)

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

    async def attach(
        self, answered: Callable[[Worker, list[Outcome] | None], None], ended: Callable[[Worker], None]
    ) -> None:
        """Take its answers in the running event loop: a batch's outcomes, None if the process failed with it."""
        self._answered, self._ended = answered, ended
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._jobs)

    def send(self, jobs: Sequence[Job], prevalence: float | None, spare: int) -> None:
        """Give it a batch of the same model and of what is measured; :meth:`attach` must have been called.

        Args:
            prevalence: of the site, if answers shall state it.
            spare: processes that have nothing to do, so that threads may help.
        """
        assert self._transport is not None
        files = list(chain.from_iterable(map(_files_of, jobs)))
        header = {
            "model": jobs[0].model.sha256,
            "rotations": jobs[0].rotations,
            "shifts": jobs[0].shifts,
            "occlusion": jobs[0].occlusion,
            "prevalence": prevalence,
            "spare": spare,
            "names": list(chain.from_iterable(map(_names_of, jobs))),
        }
        if RawPixels in map(type, files):
            header["raw"] = [index for index, file in enumerate(files) if type(file) is RawPixels]
        self._sizes.append(len(files))
        self._transport.write(frame(header, files))

    def kill(self) -> None:
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
            replies = []
            for header, texts in self._frames.feed(data):
                replies.append(_outcomes(header, texts, self._sizes.popleft()))
        except (AttributeError, IndexError, ValueError, KeyError, TypeError) as error:
            log.error("an inference process sent what is no answer, and is ended: %r", error)
            self._process.kill()
            return
        for outcomes in replies:
            self._answered(self, outcomes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(self)


def _outcomes(header: Header, texts: list[bytes], size: int) -> list[Outcome] | None:
    """What became of each of a batch's patches; None if the process failed with it.

    Raises:
        ValueError, KeyError, TypeError: if this is no answer.
    """
    if "failed" in header:
        log.error("an inference process failed: %s", header["failed"])
        return None
    if not len(header["outcomes"]) == len(texts) == size:
        raise ValueError(f"{len(texts)} answers to {size} patches")
    return list(map(_outcome, header["outcomes"], texts))


def _outcome(outcome: Header, text: bytes) -> Outcome:
    if slug := outcome.get("problem"):
        return _IMAGE_PROBLEMS[slug](outcome["detail"], **outcome["extensions"])
    values = outcome["values"] | {"answer": text.decode()}
    if type(values["created_at"]) is not datetime:
        raise TypeError("an answer without its time")
    return Prediction(values, *outcome["times_ms"])
