"""A patch's whole way, the same for the interface and the pages: asked, answered by a process, recorded, out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter

from app.diagnosis.raw import RawPixels, as_files
from app.diagnosis.scale import Mpp
from app.inference.model import Model, Prediction
from app.inference.pool import MAX_BATCH, Pool
from app.inference.worker import Job
from app.problems import IdempotencyMismatch, Problem, RecordsUnavailable, unexpected
from app.records.entry import LogEntry, Recorded
from app.records.idempotency import Repeatable, fingerprint
from app.records.predictions import PredictionLog
from app.records.writer import Writer, Written
from app.registry.serving import Serving
from app.registry.shadow import ShadowScorer
from app.threads import Threads
from model_zoo.occlusion import Occlusion
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """One patch, and what is asked about it.

    Attributes:
        image: the image file's bytes, or raw pixels.
        key_id: whose key asks.
        idempotency_key: the caller's name for the request, if it may be sent again.
        mpp: what the caller says of the patch's scale.
        file_name: the file's name, which is recorded only where the server stores names.
    """

    image: bytes
    rotations: Rotations
    key_id: str
    case_id: str | None = None
    slide_id: str | None = None
    idempotency_key: str | None = None
    shifts: Shifts = Shifts.NONE
    mpp: Mpp = None
    occlusion: Occlusion = Occlusion.NONE
    file_name: str | None = None

    def repeatable(self) -> Repeatable | None:
        """The request as it is remembered, if it may be sent again."""
        if self.idempotency_key is None:
            return None
        # What came with later versions counts where it is asked for: a repeat of an earlier request stays one.
        shifts = [] if self.shifts is Shifts.NONE else [str(self.shifts)]
        later = shifts if self.mpp is None else [*shifts, f"mpp={self.mpp}"]
        if self.occlusion is not Occlusion.NONE:
            later = [*later, f"occlusion={self.occlusion}"]
        if isinstance(self.image, RawPixels):
            later = [*later, "raw"]
        print_ = fingerprint(self.image, self.rotations, self.case_id, self.slide_id, *later)
        return Repeatable(self.key_id, self.idempotency_key, print_)


class PredictionService:
    """Answers patches; nothing that it answers has not been recorded.

    Args:
        pool: decodes and infers.
        io: threads that wait for the database.
        observed: is told of each answer, in its request's task, and of the seconds that recording it took.
        store_patches: whether image files are recorded with their answers.
        store_names: whether names of files are.
    """

    def __init__(
        self,
        pool: Pool,
        io: Threads,
        serving: Serving,
        log: PredictionLog,
        writer: Writer,
        shadow: ShadowScorer,
        observed: Callable[[Prediction, float], None],
        store_patches: bool,
        store_names: bool = False,
    ) -> None:
        self._pool = pool
        self._io = io
        self._serving = serving
        self._log = log
        self._writer = writer
        self._shadow = shadow
        self._observed = observed
        self._store = store_patches
        self._names = store_names

    def check_ready(self) -> Model:
        """The model, unless nothing can be answered now.

        Raises:
            NoModel, Busy, RecordsUnavailable: as their names say.
        """
        model = self._serving.state.model or self._serving.model  # which says why there is none
        if self._writer.refusal:
            raise RecordsUnavailable(self._writer.refusal)
        if self._pool.room <= 0:
            self._pool.refuse_when_full()
        return model

    async def answer(self, asked: PredictionRequest, gone: Callable[[], bool] = lambda: False) -> Recorded:
        """Answer one patch.

        Args:
            asked: the patch.
            gone: whether whoever asked has left.

        Raises:
            ImageProblem: if it is no patch.
            NoModel, Busy, ClientGone, IdempotencyMismatch, RecordsUnavailable: as their names say.
        """
        model = self.check_ready()
        repeatable = None
        if asked.idempotency_key is not None:
            repeatable, first = await self._io.run(partial(self._first, asked))
            if first:
                return first
            self.check_ready()
        [outcome] = await self._answered(model, [(asked, repeatable)], gone, self._pool.deadline_s)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def answer_all(
        self,
        asked: Sequence[PredictionRequest],
        gone: Callable[[], bool] = lambda: False,
        model: Model | None = None,
    ) -> list[Recorded | Problem]:
        """Answer patches of one request, each by itself: a problem of one leaves the others alone.

        At most as many workers are asked for at once as there are, each with a few patches, so that other requests get
        their turns in between.

        Raises:
            NoModel, Busy, ClientGone: as their names say.
        """
        model = model or self.check_ready()
        results: list[Recorded | Problem | None] = [None] * len(asked)
        requests: list[Repeatable | None] = [None] * len(asked)
        if any(each.idempotency_key for each in asked):
            await self._io.run(partial(self._first_of_all, asked, requests, results))
        left = [index for index, result in enumerate(results) if result is None]
        chunks = iter([left[begin : begin + MAX_BATCH] for begin in range(0, len(left), MAX_BATCH)])
        deadline_s = self._pool.deadline_s

        async def work() -> None:
            nonlocal deadline_s
            for chunk in chunks:
                waits_s, deadline_s = deadline_s, inf
                outcomes = await self._answered(
                    model, [(asked[index], requests[index]) for index in chunk], gone, waits_s
                )
                for index, outcome in zip(chunk, outcomes, strict=True):
                    results[index] = outcome if isinstance(outcome, Recorded | Problem) else unexpected()

        tasks = [asyncio.create_task(work()) for _ in range(self._pool.size)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [result for result in results if result is not None]

    def _first_of_all(
        self,
        asked: Sequence[PredictionRequest],
        requests: list[Repeatable | None],
        results: list[Recorded | Problem | None],
    ) -> None:
        for index, each in enumerate(asked):
            try:
                requests[index], results[index] = self._first(each)
            except IdempotencyMismatch as mismatch:
                results[index] = mismatch

    def _first(self, asked: PredictionRequest) -> tuple[Repeatable | None, Recorded | None]:
        request = asked.repeatable()
        assert request is not None
        if first := self._writer.backlog.first_answer(request):
            return request, first
        if self._writer.trouble:
            return request, None
        try:
            return request, self._log.first_answer(request)
        except RecordsUnavailable:  # the answer will go to the journal
            return request, None

    async def _kept(self, files: Sequence[bytes]) -> Sequence[bytes]:
        """The image files that are stored; raw pixels are encoded in a thread."""
        raw = any(isinstance(file, RawPixels) for file in files)
        return await self._io.resume(partial(as_files, files)) if raw else files

    async def _answered(
        self,
        model: Model,
        asked: Sequence[tuple[PredictionRequest, Repeatable | None]],
        gone: Callable[[], bool],
        deadline_s: float,
    ) -> list[Written]:
        """Patches answered by one process, and recorded together."""
        first = asked[0][0]
        files, names = [], []
        for each, _ in asked:
            files.append(each.image)
            names.append((each.case_id, each.slide_id, each.mpp))
        job = Job(model, first.rotations, files, names, gone, deadline_s, first.shifts, first.occlusion)
        self._pool.enter(len(asked))
        try:
            answers = await self._pool.run(job)
            kept: Sequence[bytes | None] = await self._kept(files) if self._store else [None] * len(files)
            answered, entries = perf_counter(), []
            for (each, repeatable), answer, file in zip(asked, answers, kept, strict=True):
                if isinstance(answer, Prediction):
                    name = each.file_name if self._names else None
                    row = {**answer.values, "key_id": each.key_id, "file_name": name}
                    entries.append(LogEntry(row, repeatable, file))
            recorded = await self._writer.write(entries)
        finally:
            self._pool.leave(len(asked))
        record_s = perf_counter() - answered
        outcomes: list[Written] = []
        for image, answer in zip(files, answers, strict=True):
            outcome = recorded.pop(0) if isinstance(answer, Prediction) else answer
            outcomes.append(outcome)
            if isinstance(answer, Prediction) and isinstance(outcome, Recorded) and not outcome.replayed:
                self._observed(answer, record_s)
                if self._serving.state.shadow is not None:
                    self._shadow.offer(image, answer)
        return outcomes
