"""A second model scores live patches beside the one that answers, when there is time for it."""

from __future__ import annotations

import logging
import threading
from queue import Empty, Full, Queue

from app.diagnosis.orbit import Rotations
from app.diagnosis.report import Answer
from app.problems import Problem
from app.records.shadow_scores import Score, ShadowScores
from app.registry.serving import Serving

QUEUE = 64
TOGETHER = 16

log = logging.getLogger("rosette.models")


class ShadowScorer:
    """One thread that scores what :meth:`offer` brings; no answer waits for it, and what is too much is dropped.

    Attributes:
        dropped: patches that were not scored.
    """

    def __init__(self, scores: ShadowScores, serving: Serving) -> None:
        self._scores = scores
        self._serving = serving
        self._queue: Queue[tuple[bytes, Answer] | None] = Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Score what waits, then end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def offer(self, data: bytes, answer: Answer) -> None:
        """Have an answered image file scored by the shadow model, if there is one."""
        if self._serving.state.shadow is None:
            return
        try:
            self._queue.put_nowait((data, answer))
        except Full:
            self.dropped += 1

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting = [first]
            last = False
            while len(waiting) < TOGETHER and not last:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                last = item is None
                if item is not None:
                    waiting.append(item)
            self._score(waiting)
            if last:
                return

    def _score(self, waiting: list[tuple[bytes, Answer]]) -> None:
        engine = self._serving.state.shadow
        if engine is None:
            return
        try:
            scores = []
            for data, answer in waiting:
                if answer.model.sha256 == engine.network.sha256:
                    continue
                shadow = engine.answer(data, Rotations.NONE)
                scores.append(
                    Score(
                        prediction_id=str(answer.id),
                        shadow_id=shadow.model.sha256,
                        active_id=answer.model.sha256,
                        shadow_label=shadow.label,
                        active_label=answer.label,
                        shadow_probability=shadow.probability,
                        active_probability=answer.probability,
                    )
                )
            if scores:
                self._scores.record(scores)
        except Problem as problem:
            self.dropped += len(waiting)
            log.warning("%s shadow scores are lost: %s", len(waiting), problem.detail)
