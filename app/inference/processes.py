"""The inference processes: started, replaced when they end or hang, and kept with the same models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from threading import Lock
from typing import Protocol
from weakref import ref

from anyio import to_thread

from app.inference.model import Model
from app.inference.worker import Outcome, Worker, WorkerEnded
from model_zoo.opening import ModelError

RETRY_S = 1.0

log = logging.getLogger("rosette.inference")


class Scheduler(Protocol):
    """Who gives the processes patches; every method is called in the event loop."""

    def joined(self, worker: Worker) -> None:
        """A process is there and has nothing to do."""

    def answered(self, worker: Worker, outcomes: list[Outcome] | None) -> None:
        """A process answered its first batch; None if it failed with it."""

    def lost(self, worker: Worker) -> None:
        """A process has ended."""

    def none_started(self) -> None:
        """A process that should take the place of another could not be started; it is tried again."""


class Processes:
    """Starts inference processes, has them open models, and replaces those that end.

    Models are opened and dropped from threads; patches are answered in the event loop.

    Args:
        size: processes.

    Attributes:
        replaced: processes that ended though nobody had told them to.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.replaced = 0
        self._workers: list[Worker] = []
        self._models: dict[str, ref[Model]] = {}
        self._changing = Lock()
        self._scheduler: Scheduler | None = None
        self._stopping = False
        self._replacing: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        """Start the processes; models can be opened at once, patches answered while :meth:`attached`."""
        self._workers = [Worker(self.size - 1) for _ in range(self.size)]

    def stop(self) -> None:
        """Wait until the processes have ended."""
        self._stopping = True
        with self._changing:
            for worker in self._workers:
                worker.wait()

    @asynccontextmanager
    async def attached(self, scheduler: Scheduler) -> AsyncIterator[None]:
        """Answer patches in the running event loop until the block ends."""
        self._scheduler = scheduler
        for worker in self._workers:
            await self._attach(worker, scheduler)
        try:
            yield
        finally:
            self._stopping = True
            for task in self._replacing:
                task.cancel()
            for worker in self._workers:
                worker.close()

    def open(self, data: bytes) -> Model:
        """Have every process open a model and prove it; it stays as long as somebody refers to what this gives.

        Raises:
            ModelError: if one of them cannot use it.
            WorkerEnded: if none is there.
        """
        with self._changing:
            known = self._models.get(sha256(data).hexdigest())
            if known is not None and (model := known()) is not None:
                return (
                    model  # a second object for it would take it away from the processes when it is not used any more
                )
            try:
                with ThreadPoolExecutor(self.size) as threads:
                    opened = list(threads.map(lambda worker: _opened(worker, data), self._workers))
            except ModelError:
                self._drop(sha256(data).hexdigest())
                raise
            models = [model for model in opened if model]
            if models:
                self._models[models[0].sha256] = ref(models[0])
            if self._scheduler is None:  # afterwards, the event loop does that
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

    async def _attach(self, worker: Worker, scheduler: Scheduler) -> None:
        await worker.attach(scheduler.answered, self._ended)
        scheduler.joined(worker)

    def _ended(self, worker: Worker) -> None:
        assert self._scheduler is not None
        self._scheduler.lost(worker)
        if self._stopping:
            return
        self.replaced += 1
        log.error("an inference process has ended unexpectedly: another one takes its place")
        replacing = asyncio.get_running_loop().create_task(self._replace(worker, self._scheduler))
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    async def _replace(self, worker: Worker, scheduler: Scheduler) -> None:
        while not self._stopping:
            try:
                await self._attach(await to_thread.run_sync(self._successor, worker), scheduler)
                return
            except (OSError, ModelError, WorkerEnded) as error:
                log.error("an inference process cannot be started: %s", error)
                scheduler.none_started()
                await asyncio.sleep(RETRY_S)

    def _successor(self, lost: Worker) -> Worker:
        """Another process with the same models."""
        with self._changing:
            return self._succeed(lost)

    def _succeed(self, lost: Worker) -> Worker:
        lost.wait()
        if self._stopping:
            raise WorkerEnded("the server stops")
        worker = Worker(self.size - 1)
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
