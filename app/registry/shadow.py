"""The shadow: a second model scores live patches when there is spare time."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from anyio import to_thread

from app.diagnosis.scale import IGNORE
from app.inference.model import Model, Prediction
from app.inference.pool import Pool
from app.inference.worker import Job, Outcome
from app.problems import Problem
from app.records.shadow_scores import Score, ShadowScores
from app.registry.serving import Serving
from model_zoo.orbit import Rotations

QUEUE = 64
MAX_SHADOW_BATCH = 4

log = logging.getLogger("rosette.models")


class ShadowScorer:
    """Scores the patches of :meth:`offer`; no answer waits for it, and excess patches are dropped.

    All methods belong to the event loop.

    Attributes:
        dropped: patches that were not scored.
    """

    def __init__(self, scores: ShadowScores, serving: Serving, pool: Pool) -> None:
        self._scores = scores
        self._serving = serving
        self._pool = pool
        self._queue: asyncio.Queue[tuple[bytes, Prediction]] = asyncio.Queue(QUEUE)
        self.dropped = 0

    def offer(self, data: bytes, answer: Prediction) -> None:
        """Queue an answered image file for the shadow, if there is one."""
        if self._serving.state.shadow is None:
            return
        try:
            self._queue.put_nowait((data, answer))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Score the queued patches, until cancelled."""
        while True:
            waiting = [await self._queue.get()]
            while len(waiting) < MAX_SHADOW_BATCH and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            try:
                await self._score(waiting)
            except Problem as problem:
                self.dropped += len(waiting)
                log.warning("%s shadow scores are lost: %s", len(waiting), problem.detail)

    async def _score(self, waiting: list[tuple[bytes, Prediction]]) -> None:
        model = self._serving.state.shadow
        if model is None:
            return
        waiting = [each for each in waiting if each[1].values["model_sha256"] != model.sha256]
        for rotations, some in self._by_basis(model, waiting).items():
            job = Job(model, rotations, [data for data, _ in some], [(None, None, IGNORE)] * len(some))
            await self._record(some, await self._pool.run_in_spare_time(job))

    def _by_basis(
        self, model: Model, waiting: list[tuple[bytes, Prediction]]
    ) -> dict[Rotations, list[tuple[bytes, Prediction]]]:
        """Group the patches by basis, so that the shadow's answers have the same basis as the given ones.

        A shadow without an orbit calibration is not compared with answers of basis ``orbit``.
        """
        found: dict[Rotations, list[tuple[bytes, Prediction]]] = {}
        for data, answer in waiting:
            orbit = answer.values["basis"] == "orbit"
            if orbit and model.manifest.orbit is None:
                self.dropped += 1
            else:
                found.setdefault(Rotations.FULL if orbit else Rotations.NONE, []).append((data, answer))
        return found

    async def _record(self, waiting: list[tuple[bytes, Prediction]], shadows: list[Outcome]) -> None:
        scores = [
            Score(
                prediction_id=active.values["id"],
                shadow_id=shadow.values["model_sha256"],
                active_id=active.values["model_sha256"],
                shadow_label=shadow.values["label"],
                active_label=active.values["label"],
                shadow_probability=shadow.values["probability"],
                active_probability=active.values["probability"],
                basis=active.values["basis"],
            )
            for (_, active), shadow in zip(waiting, shadows, strict=True)
            if isinstance(shadow, Prediction) and shadow.values["basis"] == active.values["basis"]
        ]
        self.dropped += len(waiting) - len(scores)
        if scores:
            await to_thread.run_sync(partial(self._scores.record, scores))
