"""An inference process: answers patches that come through one socket, and keeps the models that another one brings.

    python -m app.inference.process JOBS CONTROL HELPERS

It ends when the server closes the sockets, or is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from app.diagnosis.engine import Engine
from app.diagnosis.prediction_row import row
from app.diagnosis.raw import RawPixels
from app.diagnosis.report import NewAnswer
from app.diagnosis.scale import Mpp
from app.inference.frames import Header, Message, frame, read
from app.memory import keep_what_is_there, return_freed_memory, use_few_arenas
from app.problems import ImageProblem
from model_zoo.occlusion import Occlusion
from model_zoo.opening import ModelError
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts

T = TypeVar("T")


class Helpers:
    """Threads that take a share of an orbit while other cores have nothing to do."""

    def __init__(self, most: int) -> None:
        self._threads = ThreadPoolExecutor(most, "helper") if most else None
        self.idle = 0

    def share(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls, the first of them here; gives their results in order."""
        assert self._threads is not None
        others = [self._threads.submit(call) for call in calls[1:]]
        first = calls[0]()
        return [first, *(other.result() for other in others)]


class Inference:
    """The models of this process, and what is asked of them.

    Args:
        helpers: threads at most that may help with an orbit.
    """

    def __init__(self, helpers: int) -> None:
        self._engines: dict[str, Engine] = {}
        self._helpers = Helpers(helpers)

    def answer(self, header: Header, files: list[bytes]) -> Message:
        """One outcome for each file: a row of the log with its times, or a problem."""
        try:
            engine = self._engines[header["model"]]
            measured = Rotations(header["rotations"]), Shifts(header["shifts"]), Occlusion(header["occlusion"])
            self._helpers.idle = header["spare"]
            for index in header.get("raw", ()):
                files[index] = RawPixels(files[index])
            mpps = [mpp for _, _, mpp in header["names"]]
            answers = self._answers(engine, files, measured, header["prevalence"], mpps)
            outcomes, texts = [], []
            for answer, (case_id, slide_id, _) in zip(answers, header["names"], strict=True):
                outcome, text = _outcome(answer, measured[0], case_id, slide_id)
                outcomes.append(outcome)
                texts.append(text)
            return {"outcomes": outcomes}, texts
        except Exception:  # a bug costs these patches their answers, not the process
            return {"failed": traceback.format_exc()}, []

    def _answers(
        self,
        engine: Engine,
        files: Sequence[bytes],
        measured: tuple[Rotations, Shifts, Occlusion],
        prevalence: float | None,
        mpps: Sequence[Mpp],
    ) -> list[NewAnswer | ImageProblem]:
        rotations, shifts, occlusion = measured
        if measured == (Rotations.NONE, Shifts.NONE, Occlusion.NONE):
            return engine.answer_as_given(files, prevalence, mpps)
        answers: list[NewAnswer | ImageProblem] = []
        for data, mpp in zip(files, mpps, strict=True):
            try:
                answers.append(engine.answer(data, rotations, prevalence, self._helpers, shifts, mpp, occlusion))
            except ImageProblem as problem:
                answers.append(problem)
        return answers

    def obey(self, header: Header, attachments: Sequence[bytes]) -> Header:
        """Open and prove a model, or drop one."""
        if model_id := header.get("drop"):
            self._engines.pop(model_id, None)
            return_freed_memory()
            return {}
        [data] = attachments
        try:
            engine = Engine.open(data)
            opened = {
                "sha256": engine.network.sha256,
                "manifest": engine.manifest.model_dump_json(),
                "steps": [asdict(step) for step in engine.proof.steps],
            }
        except ModelError as error:
            return {"refused": str(error)}
        except Exception as error:  # else the server would wait for a reply that never comes
            return {"refused": f"it cannot be opened: {type(error).__name__}: {error}"}
        self._engines[engine.network.sha256] = engine
        return_freed_memory()
        return opened


def _outcome(
    answer: NewAnswer | ImageProblem, rotations: Rotations, case_id: str | None, slide_id: str | None
) -> tuple[dict[str, Any], bytes]:
    if isinstance(answer, ImageProblem):
        return {"problem": answer.slug, "detail": answer.detail, "extensions": answer.extensions}, b""
    answer.case_id, answer.slide_id = case_id, slide_id
    timing = answer.timing_ms
    outcome = {"values": row(answer, rotations), "times_ms": [timing.decode, timing.quality, timing.infer]}
    return outcome, answer.to_json()


def main() -> None:
    jobs, control = (socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:3])
    use_few_arenas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who stops the server stops this, when its requests are answered
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(AttributeError, PermissionError):  # not on this system, or not in this container
        # As many turns on a core as before, but not by interrupting the server, which answers everybody.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    keep_what_is_there()
    inference = Inference(int(sys.argv[3]))
    threading.Thread(
        target=_serve, args=[control, lambda *message: (inference.obey(*message), [])], daemon=True
    ).start()
    _serve(jobs, inference.answer)
    os._exit(0)  # the other thread may be opening a model


def _serve(connection: socket.socket, answer: Callable[[Header, list[bytes]], Message]) -> None:
    with connection.makefile("rb") as stream, suppress(BrokenPipeError, ConnectionResetError):  # the server is gone
        while (message := read(stream)) is not None:
            connection.sendall(frame(*answer(*message)))


if __name__ == "__main__":
    main()
