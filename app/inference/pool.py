"""What waits for an inference process, and in which batches it goes there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app import problems
from app.inference.processes import Processes
from app.inference.worker import Job, Outcome, Worker
from app.problems import Busy

MAX_BATCH = 8
HUNG_S = 60.0


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

    Attributes:
        room: further jobs that fit.
    """

    def __init__(self, processes: Processes, queue: int, deadline_s: float, prevalence: float | None = None) -> None:
        self.size = processes.size
        self.deadline_s = deadline_s
        self._processes = processes
        self.room = processes.size + queue
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
    def replaced(self) -> int:
        """Processes that ended though nobody had told them to."""
        return self._processes.replaced

    @property
    def waiting(self) -> int:
        """Jobs that no process has begun."""
        return len(self._waiting)

    def attached(self) -> AbstractAsyncContextManager[None]:
        """Answer patches in the running event loop until the block ends."""
        return self._processes.attached(self)

    def refuse_when_full(self) -> None:
        """Raise Busy if a job would be refused now."""
        if self.room <= 0:
            raise Busy("All workers are busy and the queue is full: try again in a second.")

    def enter(self, patches: int) -> None:
        """Count a job's patches from before they wait until they are recorded; it is not refused any more."""
        self.room -= 1
        self._patches += patches

    def leave(self, patches: int) -> None:
        """The counterpart of :meth:`enter`."""
        self.room += 1
        self._patches -= patches

    def run(self, job: Job) -> Awaitable[list[Outcome]]:
        """Have a job answered, which :meth:`enter` counts.

        To await it raises ClientGone or Busy if nobody wants it any more or it waited too long, and Problem if the
        process failed or ended over it.
        """
        self._waiting.append(job)
        self._dispatch_soon()
        return job.future

    def run_in_spare_time(self, job: Job) -> Awaitable[list[Outcome]]:
        """The same, when a process has nothing else to do."""
        self._spare.append(job)
        self._dispatch_soon()
        return job.future

    # What the processes tell

    def joined(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._dispatch()

    def answered(self, worker: Worker, outcomes: list[Outcome] | None) -> None:
        batches = self._at_work[worker]
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
        worker.send(jobs, self._prevalence, 0 if self._waiting else len(self._idle))


def _fail(batch: _Batch) -> None:
    for job in batch.jobs:
        if not job.future.done():
            job.future.set_exception(problems.unexpected())
