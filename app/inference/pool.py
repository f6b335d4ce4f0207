"""A fixed number of inference processes, and what waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from math import inf
from threading import Lock
from time import monotonic
from typing import Any
from weakref import ref

from anyio import to_thread

from app import problems
from app.diagnosis.scale import Mpp
from app.inference.frames import Header
from app.inference.model import Answered, Model
from app.inference.worker import Worker, WorkerEnded
from app.problems import Busy, ClientGone, ImageProblem
from app.work import Reply
from model_zoo.opening import ModelError
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts

TOGETHER = 8
RETRY_S = 1.0
HUNG_S = 60.0

log = logging.getLogger("rosette.inference")

Patch = tuple[bytes, str | None, str | None, Mpp]
Outcome = Answered | ImageProblem
_IMAGE_PROBLEMS = {kind.slug: kind for kind in ImageProblem.__subclasses__()}


class Task:
    """Patches of one request that go to one process.

    Args:
        patches: image files, each with its case's and its slide's pseudonym and what the caller says of its scale.
        done: is given an outcome for each patch, in the event loop, unless the reply is given an error.
        reply: what the request waits for.
        gone: whether whoever asked has left; asked just before the task would begin.
        deadline_s: seconds for which the task may wait; then it is refused without having begun.
        shifts: whether the patches are also answered at offsets around them.
    """

    __slots__ = ("_deadline_s", "_expires", "_gone", "done", "model", "patches", "reply", "rotations", "shifts")

    def __init__(
        self,
        model: Model,
        rotations: Rotations,
        patches: Sequence[Patch],
        done: Callable[[list[Outcome]], None],
        reply: Reply[Any],
        gone: Callable[[], bool] = lambda: False,
        deadline_s: float = inf,
        shifts: Shifts = Shifts.NONE,
    ) -> None:
        self.model = model
        self.rotations = rotations
        self.shifts = shifts
        self.patches = patches
        self.done = done
        self.reply = reply
        self._gone = gone
        self._deadline_s = deadline_s
        self._expires = monotonic() + deadline_s

    @property
    def as_given(self) -> bool:
        """Whether each patch takes one inference, so that several tasks can share a call of the network."""
        return self.rotations is Rotations.NONE and self.shifts is Shifts.NONE

    def still_wanted(self) -> bool:
        """Whether to begin; if not, whoever asked has been told why."""
        if self.reply.abandoned:
            return False
        if self._gone():
            self.reply.settle(ClientGone("The client has left: its request was not run."))
            return False
        if monotonic() > self._expires:
            self.reply.settle(Busy(f"No worker was free for {self._deadline_s:g} s: try again in a second."))
            return False
        return True


@dataclass
class _Job:
    """What a process was given; it is ended if it has not answered in time."""

    tasks: list[Task]
    timer: asyncio.TimerHandle


class Pool:
    """Hands patches to inference processes, and replaces those that end or hang.

    Models are opened and dropped from threads; everything else belongs to the event loop.

    Args:
        size: processes.
        queue: tasks that may wait beside those at work; more are refused.
        deadline_s: seconds for which a task may wait.
        prevalence: of the site, if answers shall state it.

    Attributes:
        replaced: processes that ended though nobody had told them to.
    """

    def __init__(self, size: int, queue: int, deadline_s: float, prevalence: float | None = None) -> None:
        self.size = size
        self.deadline_s = deadline_s
        self.replaced = 0
        self._room = size + queue
        self._prevalence = prevalence
        self._waiting: deque[Task] = deque()
        self._spare: deque[Task] = deque()
        self._idle: list[Worker] = []
        self._at_work: dict[Worker, deque[_Job]] = {}
        self._workers: list[Worker] = []
        self._models: dict[str, ref[Model]] = {}
        self._changing = Lock()
        self._attached = False
        self._stopping = False
        self._dispatching = False
        self._replacing: set[asyncio.Task[None]] = set()

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
        """Tasks that no process has begun."""
        return len(self._waiting)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        """Start the processes; models can be opened at once, patches answered while :meth:`attached`."""
        self._workers = [self._worker() for _ in range(self.size)]

    def stop(self) -> None:
        """Wait until the processes have ended."""
        self._stopping = True
        with self._changing:
            for worker in self._workers:
                worker.wait()

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        """Answer patches in the running event loop until the block ends."""
        self._attached = True
        for worker in self._workers:
            await self._attach(worker)
        try:
            yield
        finally:
            self._stopping = True
            for task in self._replacing:
                task.cancel()
            for worker in self._workers:
                worker.close()

    # Models

    def open(self, data: bytes) -> Model:
        """Have every process open a model and prove it; it stays as long as somebody refers to what this gives.

        Raises:
            ModelError: if one of them cannot use it.
            WorkerEnded: if none is there.
        """
        with self._changing:
            try:
                with ThreadPoolExecutor(self.size) as threads:
                    opened = list(threads.map(lambda worker: _opened(worker, data), self._workers))
            except ModelError:
                self._drop(sha256(data).hexdigest())
                raise
            models = [model for model in opened if model]
            if models:
                self._models[models[0].sha256] = ref(models[0])
            if not self._attached:  # afterwards, the event loop does that
                for worker in [worker for worker, model in zip(self._workers, opened, strict=True) if model is None]:
                    self._succeed(worker)
            if not models:
                raise WorkerEnded("no inference process lived through opening the model")
            return models[0]

    def drop_unused(self) -> None:
        """Have the processes forget models that nobody refers to any more."""
        with self._changing:
            for model_id in [model_id for model_id, model in self._models.items() if model() is None]:
                del self._models[model_id]
                self._drop(model_id)

    def _drop(self, model_id: str) -> None:
        for worker in self._workers:
            with suppress(WorkerEnded):
                worker.drop(model_id)

    # Patches

    def refuse_when_full(self) -> None:
        """Raise Busy if a task would be refused now."""
        if self._room <= 0:
            raise Busy("All workers are busy and the queue is full: try again in a second.")

    async def run(self, task: Task) -> Any:
        """Have a task answered; gives what its reply is given. It is not refused: see :meth:`refuse_when_full`."""
        self._room -= 1
        try:
            self._waiting.append(task)
            self._dispatch_soon()
            return await task.reply.future
        finally:
            self._room += 1

    async def run_in_spare_time(self, task: Task) -> Any:
        """The same, when a process has nothing else to do."""
        self._spare.append(task)
        self._dispatch_soon()
        return await task.reply.future

    def _dispatch_soon(self) -> None:
        """Hand over what waits when everything that has arrived by now is read: it may go together."""
        if self._willing() and not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        while (worker := self._willing()) and (tasks := self._next()):
            if worker in self._idle:
                self._idle.remove(worker)
            job = _Job(tasks, asyncio.get_running_loop().call_later(HUNG_S, worker.kill))
            self._at_work.setdefault(worker, deque()).append(job)
            first, patches = tasks[0], [patch for task in tasks for patch in task.patches]
            header = {
                "model": first.model.sha256,
                "rotations": first.rotations,
                "shifts": first.shifts,
                "prevalence": self._prevalence,
                "spare": 0 if self._waiting else len(self._idle),
                "names": [names for _, *names in patches],
            }
            worker.send(header, [data for data, *_ in patches])

    def _willing(self) -> Worker | None:
        """A process that has nothing to do; or, while others find something, one that shall go on when it is done."""
        if self._idle:
            return self._idle[-1]
        if len(self._waiting) < max(2, self.size):
            return None
        return next((worker for worker, jobs in self._at_work.items() if len(jobs) == 1), None)

    def _next(self) -> list[Task]:
        """What goes to a process next.

        Of patches that are answered as given, its share of all that are here, where one more share is on its way
        through the log: who takes all that waits has nothing to do until what it answered has come back as requests.
        """
        here = len(self._waiting) + sum(len(job.tasks) for jobs in self._at_work.values() for job in jobs)
        share = min(TOGETHER, -(-here // (self.size + 1)))
        tasks: list[Task] = []
        patches = 0
        while self._waiting:
            task = self._waiting[0]
            if tasks and not (
                task.as_given
                and tasks[0].as_given
                and task.model is tasks[0].model
                and patches + len(task.patches) <= share
            ):
                break
            self._waiting.popleft()
            if task.still_wanted():
                tasks.append(task)
                patches += len(task.patches)
        while not tasks and self._spare:
            task = self._spare.popleft()
            if task.still_wanted():
                tasks.append(task)
        return tasks

    def _answered(self, worker: Worker, header: Header, texts: list[bytes]) -> None:
        jobs = self._at_work[worker]
        job = jobs.popleft()
        job.timer.cancel()
        if not jobs:
            del self._at_work[worker]
            self._idle.append(worker)
        self._dispatch_soon()
        tasks = job.tasks
        if "failed" in header:
            log.error("an inference process failed: %s", header["failed"])
            for task in tasks:
                task.reply.settle(problems.unexpected())
            return
        outcomes = [_outcome(*each) for each in zip(header["outcomes"], texts, strict=True)]
        begin = 0
        for task in tasks:
            end = begin + len(task.patches)
            task.done(outcomes[begin:end])
            begin = end

    # The processes

    def _worker(self) -> Worker:
        return Worker(self.size - 1, self._answered, self._ended)

    async def _attach(self, worker: Worker) -> None:
        await worker.attach()
        self._idle.append(worker)
        self._dispatch()

    def _ended(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        for job in self._at_work.pop(worker, ()):
            job.timer.cancel()
            for task in job.tasks:
                task.reply.settle(problems.unexpected())
        if self._stopping:
            return
        self.replaced += 1
        log.error("an inference process has ended unexpectedly: another one takes its place")
        replacing = asyncio.get_running_loop().create_task(self._replace(worker))
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    async def _replace(self, worker: Worker) -> None:
        while not self._stopping:
            try:
                await self._attach(await to_thread.run_sync(self._successor, worker))
                return
            except (OSError, ModelError, WorkerEnded) as error:
                log.error("an inference process cannot be started: %s", error)
                self._waiting = deque(task for task in self._waiting if task.still_wanted())
                await asyncio.sleep(RETRY_S)

    def _successor(self, lost: Worker) -> Worker:
        """Another process with the same models."""
        with self._changing:
            return self._succeed(lost)

    def _succeed(self, lost: Worker) -> Worker:
        lost.wait()
        if self._stopping:
            raise WorkerEnded("the server stops")
        worker = self._worker()
        try:
            for model in [model for known in self._models.values() if (model := known())]:
                worker.open(model.data)
        except BaseException:
            worker.wait()
            raise
        self._workers[self._workers.index(lost)] = worker
        return worker


def _opened(worker: Worker, data: bytes) -> Model | None:
    try:
        return worker.open(data)
    except WorkerEnded:  # another one will take its place, with this model
        return None


def _outcome(outcome: Header, text: bytes) -> Outcome:
    if slug := outcome.get("problem"):
        return _IMAGE_PROBLEMS[slug](outcome["detail"], **outcome["extensions"])
    values = outcome["values"]
    values["created_at"] = datetime.fromisoformat(values["created_at"])
    values["answer"] = text.decode()
    return Answered(values, *outcome["times_ms"])
