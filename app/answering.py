"""A patch's whole way, the same for the interface and the pages: asked → answered in a worker → recorded → out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import perf_counter

from app.diagnosis.engine import Engine
from app.diagnosis.orbit import Rotations
from app.diagnosis.report import Answer
from app.problems import IdempotencyMismatch, ImageProblem, Problem, RecordsUnavailable
from app.records.entry import Recorded
from app.records.idempotency import Repeatable, fingerprint
from app.records.predictions import PredictionLog, entry_of
from app.records.writer import Outcome, Writer
from app.registry.serving import Serving
from app.registry.shadow import ShadowScorer
from app.work import Reply, Wish, Workers

TOGETHER = 8
Observe = Callable[[Answer, float], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One patch, and what is asked about it.

    Attributes:
        image: the image file's bytes.
        key_id: whose key asks.
        idempotency_key: the caller's name for the request, if it may be sent again.
    """

    image: bytes
    rotations: Rotations
    key_id: str
    case_id: str | None = None
    slide_id: str | None = None
    idempotency_key: str | None = None

    def repeatable(self) -> Repeatable | None:
        """The request as it is remembered, if it may be sent again."""
        if self.idempotency_key is None:
            return None
        print_ = fingerprint(self.image, self.rotations, self.case_id, self.slide_id)
        return Repeatable(self.key_id, self.idempotency_key, print_)


@dataclass(frozen=True, slots=True)
class _Item:
    """A patch that waits for a worker."""

    engine: Engine
    asked: Asked
    request: Repeatable | None
    observe: Observe
    wish: Wish[Recorded]


class Answering:
    """Answers patches; nothing that it answers has not been recorded.

    Args:
        workers: threads that decode and infer.
        io: threads that wait for the database.
        observer: is asked for each request, by its own task, for what takes its answers and the seconds that
            recording them took.
        prevalence: of the site, if answers shall state it.
        store_patches: whether image files are recorded with their answers.
    """

    def __init__(
        self,
        workers: Workers,
        io: Workers,
        serving: Serving,
        log: PredictionLog,
        writer: Writer,
        shadow: ShadowScorer,
        observer: Callable[[], Observe],
        prevalence: float | None,
        store_patches: bool,
    ) -> None:
        self._workers = workers
        self._io = io
        self._serving = serving
        self._log = log
        self._writer = writer
        self._shadow = shadow
        self._observer = observer
        self._as_given: deque[_Item] = deque()
        self._prevalence = prevalence
        self._store_patches = store_patches

    def check_ready(self) -> None:
        """Refuse what could not be answered now, before its body is read.

        Raises:
            NoModel, Busy: as their names say.
        """
        _ = self._serving.engine
        self._workers.refuse_when_full()

    async def answer(self, asked: Asked, gone: Callable[[], bool] = lambda: False) -> Recorded:
        """Answer one patch.

        Args:
            asked: the patch.
            gone: whether whoever asked has left.

        Raises:
            ImageProblem: if it is no patch.
            NoModel, Busy, ClientGone, IdempotencyMismatch, RecordsUnavailable: as their names say.
        """
        engine = self._serving.engine
        request = None
        if asked.idempotency_key is not None:
            self._workers.refuse_when_full()
            request, first = await self._io.run(partial(self._first, asked))
            if first:
                return first
        self._workers.refuse_when_full()
        wish: Wish[Recorded] = self._workers.wish(gone=gone)
        item = _Item(engine, asked, request, self._observer(), wish)
        if asked.rotations is not Rotations.NONE:
            return await self._workers.fulfilled(wish, partial(self._answer_item, item))
        self._as_given.append(item)
        return await self._workers.fulfilled(wish, self._answer_waiting)

    async def answer_all(
        self, asked: Sequence[Asked], gone: Callable[[], bool] = lambda: False
    ) -> list[Recorded | Problem]:
        """Answer patches of one request, each by itself: a problem of one leaves the others alone.

        At most as many workers are asked for at once as there are, each with a few patches, so that other requests get
        their turns in between.

        Raises:
            NoModel, Busy, ClientGone: as their names say.
        """
        engine, observe = self._serving.engine, self._observer()
        results: list[Recorded | Problem | None] = [None] * len(asked)
        requests: list[Repeatable | None] = [None] * len(asked)
        if any(each.idempotency_key for each in asked):
            self._workers.refuse_when_full()
            await self._io.run(partial(self._first_of_all, asked, requests, results))
        left = [index for index, result in enumerate(results) if result is None]
        chunks = iter([left[begin : begin + TOGETHER] for begin in range(0, len(left), TOGETHER)])
        admitted = False

        async def work() -> None:
            nonlocal admitted
            for chunk in chunks:
                call = partial(self._answer_some, engine, observe, [(asked[index], requests[index]) for index in chunk])
                waits, admitted = admitted, True
                for index, result in zip(
                    chunk, await self._workers.hand_over(call, admitted=waits, gone=gone), strict=True
                ):
                    results[index] = result

        tasks = [asyncio.create_task(work()) for _ in range(self._workers.threads)]
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
        if first := self._writer.first_answer(request):
            return request, first
        if self._writer.trouble:
            return request, None
        try:
            return request, self._log.first_answer(request)
        except RecordsUnavailable:  # the answer will go to the journal
            return request, None

    def _answer_item(self, item: _Item) -> None:
        try:
            if item.wish.still_wanted():
                answer = item.engine.answer(item.asked.image, item.asked.rotations, self._prevalence, self._workers)
                self._record(item.asked, answer, item.request, item.observe, item.wish.give)
        except BaseException as error:
            item.wish.give(error)

    def _answer_waiting(self) -> None:
        """Answer a share of what waits, in one call of the network. Each item has such a call: some come too late."""
        share = min(TOGETHER, -(-len(self._as_given) // self._workers.threads))
        items: list[_Item] = []
        with suppress(IndexError):  # another thread was faster
            while len(items) < share:
                items.append(self._as_given.popleft())
        items = [item for item in items if item.wish.still_wanted()]
        for engine in {item.engine for item in items}:  # two during a swap
            mine = [item for item in items if item.engine is engine]
            try:
                answers = engine.answer_as_given([item.asked.image for item in mine], self._prevalence)
                for item, answer in zip(mine, answers, strict=True):
                    if isinstance(answer, ImageProblem):
                        item.wish.give(answer)
                    else:
                        self._record(item.asked, answer, item.request, item.observe, item.wish.give)
            except BaseException as error:
                for item in mine:
                    item.wish.give(error)

    def _answer_some(
        self,
        engine: Engine,
        observe: Observe,
        asked: Sequence[tuple[Asked, Repeatable | None]],
        reply: Reply[list[Recorded | Problem]],
    ) -> None:
        """Answer a few patches one after the other; the reply comes when the last has been recorded."""
        outcomes: dict[int, Recorded | Problem] = {}
        lock = Lock()

        def give(index: int, outcome: Outcome) -> None:
            if not isinstance(outcome, Recorded | Problem):
                outcome = Problem("An unexpected error happened; it is in the server's log. Nothing was recorded.")
            with lock:
                outcomes[index] = outcome
                complete = len(outcomes) == len(asked)
            if complete:
                reply.give([outcomes[index] for index in range(len(asked))])

        answers = self._answers(engine, [each for each, _ in asked])
        for index, ((each, request), answer) in enumerate(zip(asked, answers, strict=True)):
            if isinstance(answer, ImageProblem):
                give(index, answer)
            else:
                self._record(each, answer, request, observe, partial(give, index))

    def _answers(self, engine: Engine, asked: Sequence[Asked]) -> list[Answer | ImageProblem]:
        if asked[0].rotations is Rotations.NONE:
            return engine.answer_as_given([each.image for each in asked], self._prevalence)
        answers: list[Answer | ImageProblem] = []
        for each in asked:
            try:
                answers.append(engine.answer(each.image, each.rotations, self._prevalence, self._workers))
            except ImageProblem as problem:
                answers.append(problem)
        return answers

    def _record(
        self,
        asked: Asked,
        answer: Answer,
        request: Repeatable | None,
        observe: Observe,
        give: Callable[[Outcome], None],
    ) -> None:
        if asked.case_id is not None or asked.slide_id is not None:
            answer = answer.model_copy(update={"case_id": asked.case_id, "slide_id": asked.slide_id})
        start = perf_counter()

        def deliver(outcome: Outcome) -> None:
            give(outcome)
            if isinstance(outcome, Recorded) and not outcome.replayed:
                observe(answer, perf_counter() - start)
                self._shadow.offer(asked.image, answer)

        patch = asked.image if self._store_patches else None
        self._writer.submit(entry_of(answer, asked.rotations, asked.key_id, request, patch), deliver)
