"""What waits for an inference process, and in which batches it goes there."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import chain
from math import inf
from time import monotonic

from app import problems
from app.diagnosis.orbit import Rotations
from app.diagnosis.scale import Mpp
from app.diagnosis.shifts import Shifts
from app.inference.model import Model
from app.inference.processes import Processes
from app.inference.worker import Outcome, Worker
from app.problems import Busy, ClientGone

Names = tuple[str | None, str | None, Mpp]

MAX_BATCH = 8
HUNG_S = 60.0

log = logging.getLogger("rosette.inference")


class Job:
    """Patches of one request that go to one process; made in the event loop.

    Args:
        files: image files.
        names: of each, its case's and its slide's pseudonym and what the caller says of its scale.
        gone: whether whoever asked has left; asked just before the job would begin.
        deadline_s: seconds for which the job may wait; then it is refused without having begun.
        shifts: whether the patches are also answered at offsets around them.

    Attributes:
        future: gets an outcome for each patch, or an error.
        as_given: whether each patch takes one inference, so that several jobs can share a call of the network.
    """

    __slots__ = (
        "_deadline_s",
        "_expires",
        "_gone",
        "as_given",
        "files",
        "future",
        "model",
        "names",
        "rotations",
        "shifts",
    )

    def __init__(
        self,
        model: Model,
        rotations: Rotations,
        files: Sequence[bytes],
        names: Sequence[Names],
        gone: Callable[[], bool] = lambda: False,
        deadline_s: float = inf,
        shifts: Shifts = Shifts.NONE,
    ) -> None:
        self.model = model
        self.rotations = rotations
        self.shifts = shifts
        self.files = files
        self.names = names
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.as_given = rotations is Rotations.NONE and shifts is Shifts.NONE
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


@dataclass(slots=True)
class _Batch:
    """What a process was given; it is ended if it has not answered in time."""

    jobs: list[Job]
    timer: asyncio.TimerHandle


class Pool:
    """Hands patches to inference processes, in batches where they can share a call of the network.

    Everything belongs to the event loop.

    Args:
        processes: which answer.
        queue: jobs that may be here beside one for each process; more are refused.
        deadline_s: seconds for which a job may wait.
        prevalence: of the site, if answers shall state it.
    """

    def __init__(self, processes: Processes, queue: int, deadline_s: float, prevalence: float | None = None) -> None:
        self.size = processes.size
        self.deadline_s = deadline_s
        self._processes = processes
        self._room = processes.size + queue
        self._patches = 0
        self._prevalence = prevalence
        self._waiting: deque[Job] = deque()
        self._spare: deque[Job] = deque()
        self._idle: list[Worker] = []
        self._at_work: dict[Worker, deque[_Batch]] = {}
        self._dispatching = False

    @property
    def alive(self) -> bool:
        """Whether there is a process that answers."""
        return bool(self._idle or self._at_work)

    @property
    def running(self) -> int:
        """Processes that are at work."""
        return len(self._at_work)

    @property
    def waiting(self) -> int:
        """Jobs that no process has begun."""
        return len(self._waiting)

    def attached(self) -> AbstractAsyncContextManager[None]:
        """Answer patches in the running event loop until the block ends."""
        return self._processes.attached(self)

    def refuse_when_full(self) -> None:
        """Raise Busy if a job would be refused now."""
        if self._room <= 0:
            raise Busy("All workers are busy and the queue is full: try again in a second.")

    def enter(self, patches: int) -> None:
        """Count a job's patches from before they wait until they are recorded; it is not refused any more."""
        self._room -= 1
        self._patches += patches

    def leave(self, patches: int) -> None:
        """The counterpart of :meth:`enter`."""
        self._room += 1
        self._patches -= patches

    async def run(self, job: Job) -> list[Outcome]:
        """Have a job answered; :meth:`enter` counts it.

        Raises:
            ClientGone, Busy: if nobody wants it any more, or it waited too long.
            Problem: if the process failed or ended over it.
        """
        self._waiting.append(job)
        self._dispatch_soon()
        return await job.future

    async def run_in_spare_time(self, job: Job) -> list[Outcome]:
        """The same, when a process has nothing else to do."""
        self._spare.append(job)
        self._dispatch_soon()
        return await job.future

    # What the processes tell

    def joined(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._dispatch()

    def answered(self, worker: Worker, outcomes: list[Outcome] | None) -> None:
        batches = self._at_work.get(worker)
        if not batches or (outcomes is not None and len(outcomes) != _size(batches[0].jobs)):
            log.error("an inference process answered what it was not asked, and is ended")
            worker.kill()
            return
        batch = batches.popleft()
        batch.timer.cancel()
        if not batches:
            del self._at_work[worker]
            self._idle.append(worker)
        if self._waiting or self._spare:
            self._dispatch_soon()
        if outcomes is None:
            _fail(batch)
            return
        begin = 0
        for job in batch.jobs:
            end = begin + len(job.files)
            if not job.future.done():
                job.future.set_result(outcomes[begin:end])
            begin = end

    def lost(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        for batch in self._at_work.pop(worker, ()):
            batch.timer.cancel()
            _fail(batch)

    def none_started(self) -> None:
        self._waiting = deque(job for job in self._waiting if job.still_wanted())

    # Scheduling

    def _dispatch_soon(self) -> None:
        """Hand over what waits when everything that has arrived by now is read: it may go together."""
        if not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        while (self._waiting or self._spare) and (worker := self._willing()) and (jobs := self._next()):
            self._give(worker, jobs)

    def _willing(self) -> Worker | None:
        """A process that has nothing to do; or, while others find something, one that shall go on when it is done."""
        if self._idle:
            return self._idle[-1]
        if len(self._waiting) < max(2, self.size):
            return None
        return next((worker for worker, batches in self._at_work.items() if len(batches) == 1), None)

    def _next(self) -> list[Job]:
        """What goes to a process next.

        Patches that are answered as given share a call: ceil(patches here / processes) of them, at most MAX_BATCH.
        Here are those that wait, those at work, and those that wait for their commit, whose callers will ask again.
        """
        share = min(MAX_BATCH, -(-self._patches // self.size))
        jobs: list[Job] = []
        patches = 0
        while self._waiting:
            job = self._waiting[0]
            if jobs and not (
                job.as_given and jobs[0].as_given and job.model is jobs[0].model and patches + len(job.files) <= share
            ):
                break
            self._waiting.popleft()
            if job.still_wanted():
                jobs.append(job)
                patches += len(job.files)
        while not jobs and self._spare:
            job = self._spare.popleft()
            if job.still_wanted():
                jobs.append(job)
        return jobs

    def _give(self, worker: Worker, jobs: list[Job]) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        timer = asyncio.get_running_loop().call_later(HUNG_S, worker.kill)
        self._at_work.setdefault(worker, deque()).append(_Batch(jobs, timer))
        header = {
            "model": jobs[0].model.sha256,
            "rotations": jobs[0].rotations,
            "shifts": jobs[0].shifts,
            "prevalence": self._prevalence,
            "spare": 0 if self._waiting else len(self._idle),
            "names": list(chain.from_iterable([job.names for job in jobs])),
        }
        worker.send(header, list(chain.from_iterable([job.files for job in jobs])))


def _size(jobs: list[Job]) -> int:
    return sum([len(job.files) for job in jobs])


def _fail(batch: _Batch) -> None:
    for job in batch.jobs:
        if not job.future.done():
            job.future.set_exception(problems.unexpected())
