"""Processes that score chunks side by side; one that dies takes no other chunk's result along."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_zoo.network import Network, check_golden_cases
from slides.cells import State
from slides.errors import SlideError
from slides.grid import Chunk
from slides.opened import Model
from slides.raster import Plan, Raster
from slides.reader import Reader
from slides.score import CellArray, Measures, Scorer, nothing, put

MOST_DEATHS = 3


@dataclass(frozen=True)
class Job:
    """What a process needs to score chunks of a slide."""

    slide: Path
    plan: Plan
    measures: Measures


@dataclass(frozen=True)
class Task:
    """A chunk, and which of its cells may hold tissue, bool [rows, columns]."""

    chunk: Chunk
    candidates: NDArray[np.bool_]


class Pool:
    """Processes with one model.

    Args:
        model: the artifact's bytes, proved on this machine.
        processes: how many.
        region: of a dense artifact, if it is there, as in :class:`model_zoo.dense_pass.DensePass`.
    """

    _died: type[Exception] = BrokenProcessPool  # what a future raises whose process ended
    _patience: float | None = None  # seconds to wait for a chunk

    def __init__(self, model: bytes, processes: int, region: bytes | None = None) -> None:
        self._model = model
        self._region = region
        self._processes = processes
        self._running = 0
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def score(self, job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Chunk, CellArray]]:
        """Scored chunks as they come; one that kills its process three times is a hole.

        Raises:
            SlideError, OSError: what a process raised.
        """
        waiting = deque(tasks)
        self._expect(len(waiting))
        while waiting:
            suspects: list[Task] = []
            running: dict[Future[CellArray], Task] = {}
            while (waiting and not suspects) or running:
                while waiting and not suspects and len(running) < 2 * self._processes:
                    task = waiting.popleft()
                    running[self._submit(job, task)] = task
                done = wait(running, self._patience, FIRST_COMPLETED).done
                if not done:
                    raise SlideError(f"no chunk came back within {self._patience:g} s: check the workers, start again")
                for future in done:
                    task = running.pop(future)
                    try:
                        yield task.chunk, self._result(future, task)
                    except self._died:
                        suspects.append(task)
            for task in suspects:
                yield task.chunk, self._alone(job, task)

    def _expect(self, tasks: int) -> None:
        """There are so many chunks now; more processes would cost as much as hundreds of cells each."""
        wanted = min(self._processes, max(tasks, 1))
        if wanted > self._running:
            self.close()
            self._running = wanted

    def _result(self, future: Future[CellArray], task: Task) -> CellArray:
        return future.result()

    def _alone(self, job: Job, task: Task) -> CellArray:
        """Score a chunk with nothing beside it, so that a death is its own."""
        for _ in range(MOST_DEATHS):
            self.close()
            try:
                return self._submit(job, task).result()
            except BrokenProcessPool:
                continue
        self.close()
        return hole(task)

    def _submit(self, job: Job, task: Task) -> Future[CellArray]:
        if self._executor is None:
            self._executor = self._started()
        try:
            return self._executor.submit(_score, job, task)
        except BrokenProcessPool as error:
            failed: Future[CellArray] = Future()
            failed.set_exception(error)
            return failed

    def _started(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(self._running, get_context("spawn"), _begin, (self._model, self._region))
        try:
            executor.submit(_ready).result()
        except BrokenProcessPool as error:
            raise SlideError("the processes that score cannot start: see the error above") from error
        return executor


def hole(task: Task) -> CellArray:
    """The cells of a chunk that ended its processes."""
    cells = nothing((task.chunk.rows, task.chunk.columns), State.GLASS)
    put(cells, task.candidates, State.HOLE, "crashed")
    return cells


_model: Model
_scorers: dict[Job, Scorer] = {}


def _begin(model: bytes, region: bytes | None) -> None:
    """In a new process: open the model, and end with the process that started it."""
    global _model
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _model = Model(model, Network(model), region)
    check_golden_cases(_model.network)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _ready() -> bool:
    return True


def _score(job: Job, task: Task) -> CellArray:
    if job not in _scorers:
        for scorer in _scorers.values():
            scorer.raster.reader.close()
        _scorers.clear()
        _scorers[job] = Scorer(Raster(Reader(job.slide), job.plan), _model, job.measures)
    return _scorers[job].score(task.chunk, task.candidates)
