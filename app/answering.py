"""A patch's whole way, the same for the interface and the pages: asked → answered by a worker → recorded → out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter

from app.diagnosis.scale import Mpp
from app.inference.model import Answered, Model
from app.inference.pool import TOGETHER, Pool, Task
from app.problems import IdempotencyMismatch, ImageProblem, Problem, RecordsUnavailable, unexpected
from app.records.entry import Entry, Recorded
from app.records.idempotency import Repeatable, fingerprint
from app.records.predictions import PredictionLog
from app.records.writer import Outcome, Writer
from app.registry.serving import Serving
from app.registry.shadow import ShadowScorer
from app.work import Reply, Threads, call_in
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts


@dataclass(frozen=True, slots=True)
class Asked:
    """One patch, and what is asked about it.

    Attributes:
        image: the image file's bytes.
        key_id: whose key asks.
        idempotency_key: the caller's name for the request, if it may be sent again.
        mpp: what the caller says of the patch's scale.
    """

    image: bytes
    rotations: Rotations
    key_id: str
    case_id: str | None = None
    slide_id: str | None = None
    idempotency_key: str | None = None
    shifts: Shifts = Shifts.NONE
    mpp: Mpp = None

    def repeatable(self) -> Repeatable | None:
        """The request as it is remembered, if it may be sent again."""
        if self.idempotency_key is None:
            return None
        # What came with later versions counts where it is asked for: a repeat of an earlier request stays one.
        shifts = [] if self.shifts is Shifts.NONE else [str(self.shifts)]
        later = shifts if self.mpp is None else [*shifts, f"mpp={self.mpp}"]
        print_ = fingerprint(self.image, self.rotations, self.case_id, self.slide_id, *later)
        return Repeatable(self.key_id, self.idempotency_key, print_)


class Answering:
    """Answers patches; nothing that it answers has not been recorded.

    Args:
        pool: decodes and infers.
        io: threads that wait for the database.
        observed: is told of each answer, in its request's task, and of the seconds that recording it took.
        store_patches: whether image files are recorded with their answers.
    """

    def __init__(
        self,
        pool: Pool,
        io: Threads,
        serving: Serving,
        log: PredictionLog,
        writer: Writer,
        shadow: ShadowScorer,
        observed: Callable[[Answered, float], None],
        store_patches: bool,
    ) -> None:
        self._pool = pool
        self._io = io
        self._serving = serving
        self._log = log
        self._writer = writer
        self._shadow = shadow
        self._observed = observed
        self._store_patches = store_patches
        self._unwritten: list[tuple[list[Entry], Callable[[list[Outcome]], None]]] = []

    def check_ready(self) -> None:
        """Refuse what could not be answered now, before its body is read.

        Raises:
            NoModel, Busy, RecordsUnavailable: as their names say.
        """
        _ = self._serving.model
        self._writer.refuse_unrecordable()
        self._pool.refuse_when_full()

    async def answer(self, asked: Asked, gone: Callable[[], bool] = lambda: False) -> Recorded:
        """Answer one patch.

        Args:
            asked: the patch.
            gone: whether whoever asked has left.

        Raises:
            ImageProblem: if it is no patch.
            NoModel, Busy, ClientGone, IdempotencyMismatch, RecordsUnavailable: as their names say.
        """
        model = self._serving.model
        request = None
        if asked.idempotency_key is not None:
            self._pool.refuse_when_full()
            request, first = await self._io.run(partial(self._first, asked))
            if first:
                return first
        self._writer.refuse_unrecordable()
        self._pool.refuse_when_full()
        [outcome] = await self._answered(model, [(asked, request)], gone, self._pool.deadline_s)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def answer_all(
        self, asked: Sequence[Asked], gone: Callable[[], bool] = lambda: False
    ) -> list[Recorded | Problem]:
        """Answer patches of one request, each by itself: a problem of one leaves the others alone.

        At most as many workers are asked for at once as there are, each with a few patches, so that other requests get
        their turns in between.

        Raises:
            NoModel, Busy, ClientGone: as their names say.
        """
        model = self._serving.model
        results: list[Recorded | Problem | None] = [None] * len(asked)
        requests: list[Repeatable | None] = [None] * len(asked)
        self._pool.refuse_when_full()
        if any(each.idempotency_key for each in asked):
            await self._io.run(partial(self._first_of_all, asked, requests, results))
        left = [index for index, result in enumerate(results) if result is None]
        chunks = iter([left[begin : begin + TOGETHER] for begin in range(0, len(left), TOGETHER)])
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
        asked: Sequence[Asked],
        requests: list[Repeatable | None],
        results: list[Recorded | Problem | None],
    ) -> None:
        for index, each in enumerate(asked):
            try:
                requests[index], results[index] = self._first(each)
            except IdempotencyMismatch as mismatch:
                results[index] = mismatch

    def _first(self, asked: Asked) -> tuple[Repeatable | None, Recorded | None]:
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

    async def _answered(
        self,
        model: Model,
        asked: Sequence[tuple[Asked, Repeatable | None]],
        gone: Callable[[], bool],
        deadline_s: float,
    ) -> list[Outcome]:
        """Patches answered by one process; the outcome of each is known when all have been recorded."""
        reply: Reply[list[Outcome]] = Reply()
        answers: list[Answered | ImageProblem] = []
        inferred = 0.0

        def record(found: list[Answered | ImageProblem]) -> None:
            nonlocal inferred
            inferred = perf_counter()
            answers.extend(found)
            entries = [
                self._entry(each, request, answer)
                for (each, request), answer in zip(asked, found, strict=True)
                if isinstance(answer, Answered)
            ]

            def recorded(outcomes: list[Outcome]) -> None:
                rest = iter(outcomes)
                reply.settle([each if isinstance(each, ImageProblem) else next(rest) for each in found])

            self._write_soon(entries, recorded)

        patches = [(each.image, each.case_id, each.slide_id, each.mpp) for each, _ in asked]
        first = asked[0][0]
        task = Task(model, first.rotations, patches, record, reply, gone, deadline_s, first.shifts)
        outcomes: list[Outcome] = await self._pool.run(task)
        record_s = perf_counter() - inferred
        for (each, _), answer, outcome in zip(asked, answers, outcomes, strict=True):
            if isinstance(answer, Answered) and isinstance(outcome, Recorded) and not outcome.replayed:
                self._observed(answer, record_s)
                self._shadow.offer(each.image, answer)
        return outcomes

    def _write_soon(self, entries: list[Entry], recorded: Callable[[list[Outcome]], None]) -> None:
        """Have entries written together with those of all patches that were answered in the same moment."""
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write)
        self._unwritten.append((entries, recorded))

    def _write(self) -> None:
        written, self._unwritten = self._unwritten, []
        everything = [entry for entries, _ in written for entry in entries]

        def deliver(outcomes: list[Outcome]) -> None:
            begin = 0
            for entries, recorded in written:
                recorded(outcomes[begin : begin + len(entries)])
                begin += len(entries)

        loop = asyncio.get_running_loop()
        if everything:
            self._writer.submit(everything, partial(call_in, loop, deliver))
        else:
            deliver([])

    def _entry(self, asked: Asked, request: Repeatable | None, answer: Answered) -> Entry:
        return Entry(answer.values | {"key_id": asked.key_id}, request, asked.image if self._store_patches else None)
