"""Inference processes: same answers as in one process, in order, bounded, and replaced when they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.diagnosis.engine import Engine
from app.diagnosis.report import Answer, NewAnswer
from app.inference.model import Model, Prediction
from app.inference.pool import Pool
from app.inference.processes import Processes
from app.inference.worker import Job, Outcome
from app.problems import Busy, ClientGone, ImageProblem, Problem, WrongSize
from model_zoo.opening import ModelError
from model_zoo.orbit import Rotations
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded

GOOD = encoded(synthetic_patch("tumour", 1))
OTHER = encoded(synthetic_patch("normal", 2), "JPEG")
SMALL = encoded(synthetic_patch("normal", 2)[:95])
TIMES = {"id", "created_at", "timing_ms"}


@pytest.fixture(scope="module")
def artifact(artifact_path: Path) -> bytes:
    return artifact_path.read_bytes()


@pytest.fixture(scope="module")
def engine(artifact: bytes) -> Engine:
    return Engine.open(artifact)


@contextmanager
def started(size: int = 1, queue: int = 8, **options: Any) -> Iterator[tuple[Processes, Pool]]:
    processes = Processes(size)
    pool = Pool(processes, queue, options.pop("deadline_s", 30), **options)
    processes.start()
    try:
        yield processes, pool
    finally:
        processes.stop()


def run(pool: Pool, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def attached() -> None:
        async with pool.attached():
            await test()

    asyncio.run(attached())


def asked(
    pool: Pool, model: Model, *files: bytes, rotations: Rotations = Rotations.NONE, **options: Any
) -> asyncio.Task[list[Outcome]]:
    return asyncio.create_task(
        counted(pool, Job(model, rotations, files, [(None, None, None)] * len(files), **options))
    )


async def counted(pool: Pool, job: Job) -> list[Outcome]:
    pool.enter(len(job.files))
    try:
        return await pool.run(job)
    finally:
        pool.leave(len(job.files))


def told(outcome: Outcome | NewAnswer) -> dict[str, Any]:
    """What an answer says, but for its times."""
    assert not isinstance(outcome, ImageProblem)
    text = outcome.to_json() if isinstance(outcome, NewAnswer) else outcome.values["answer"]
    return Answer.model_validate_json(text).model_dump(exclude=TIMES)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@contextmanager
def held(processes: Processes) -> Iterator[None]:
    for pid in processes.pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes.pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("rotations", list(Rotations))
@pytest.mark.parametrize("size", [1, 2])
def test_the_answers_are_those_of_the_engine(artifact: bytes, engine: Engine, rotations: Rotations, size: int) -> None:
    """With two processes and one request, a thread of the idle one's core helps with the orbit."""

    async def test() -> None:
        good, bad, other = await asked(pool, model, GOOD, SMALL, OTHER, rotations=rotations)
        assert told(good) == told(engine.answer(GOOD, rotations, 0.1))
        assert told(other) == told(engine.answer(OTHER, rotations, 0.1))
        with pytest.raises(WrongSize) as expected:
            engine.answer(SMALL, rotations)
        assert isinstance(bad, WrongSize)
        assert bad.body() == expected.value.body()

    with started(size, prevalence=0.1) as (processes, pool):
        model = processes.open(artifact)
        assert (model.sha256, model.manifest) == (engine.network.sha256, engine.manifest)
        assert [step.name for step in model.proof.steps] == [step.name for step in engine.proof.steps]
        run(pool, test)


def test_what_waits_goes_together_and_everybody_gets_their_own(artifact: bytes, engine: Engine) -> None:
    async def test() -> None:
        with held(processes):
            first = asked(pool, model, OTHER)
            await until(lambda: pool.running == 1)
            files = [GOOD, SMALL, OTHER, GOOD, OTHER]
            waiting = [asked(pool, model, data) for data in files]
            orbit = asked(pool, model, GOOD, rotations=Rotations.EXACT)
            await until(lambda: pool.waiting == 1)  # the others wait in the process
        await first
        for data, task in zip(files, waiting, strict=True):
            [outcome] = await task
            if data is SMALL:
                assert isinstance(outcome, WrongSize)
            else:
                assert told(outcome) == told(engine.answer(data, Rotations.NONE))
        [whole] = await orbit
        assert told(whole)["consistency"]["exact"] is True
        assert (pool.running, pool.waiting) == (0, 0)

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_what_does_not_fit_is_refused(artifact: bytes) -> None:
    async def test() -> None:
        with held(processes):
            fit = [asked(pool, model, GOOD)]
            await until(lambda: pool.running == 1)
            fit.append(asked(pool, model, GOOD))
            await until(lambda: pool.waiting == 1)
            with pytest.raises(Busy, match="queue is full"):
                pool.refuse_when_full()
        for each in fit:
            await each
        pool.refuse_when_full()

    with started(queue=1) as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


@pytest.mark.parametrize(
    ("how", "error"), [("cancelled", asyncio.CancelledError), ("gone", ClientGone), ("late", Busy)]
)
def test_what_nobody_waits_for_is_not_begun(artifact: bytes, how: str, error: type[BaseException]) -> None:
    async def test() -> None:
        with held(processes):
            first = asked(pool, model, GOOD)
            await until(lambda: pool.running == 1)
            left = asked(pool, model, GOOD, gone=lambda: how == "gone", deadline_s=-1 if how == "late" else 30)
            await until(lambda: pool.waiting == 1)
            if how == "cancelled":
                left.cancel()
        await first
        with pytest.raises(error):
            await left
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_spare_time_comes_when_nothing_else_waits(artifact: bytes) -> None:
    order: list[str] = []

    async def noted(name: str, answered: Awaitable[list[Outcome]]) -> None:
        await answered
        order.append(name)

    def job() -> Job:
        return Job(model, Rotations.NONE, [GOOD], [(None, None, None)])

    async def test() -> None:
        with held(processes):
            first = asked(pool, model, GOOD)
            await until(lambda: pool.running == 1)
            spare = asyncio.create_task(noted("spare", pool.run_in_spare_time(job())))
            await asyncio.sleep(0)
            usual = asyncio.create_task(noted("usual", pool.run(job())))
            await until(lambda: pool.waiting == 1)
        await asyncio.gather(first, spare, usual)
        assert order == ["usual", "spare"]

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_a_process_that_is_killed_takes_its_patches_along_and_is_replaced(
    artifact: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        before = processes.pids
        with held(processes):
            lost = asked(pool, model, GOOD)
            await until(lambda: pool.running == 1)
            waits = asked(pool, model, GOOD)
            os.kill(before[0], signal.SIGKILL)
            with pytest.raises(Problem, match="Nothing was recorded"):
                await lost
            await until(lambda: processes.pids != before)
        [outcome] = await waits
        assert isinstance(outcome, Prediction)
        assert processes.replaced == 1
        assert "ended unexpectedly" in caplog.text

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_a_model_that_cannot_be_used_is_refused_and_harms_nobody(artifact: bytes) -> None:
    async def test() -> None:
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)

    with started(2) as (processes, pool):
        model = processes.open(artifact)
        with pytest.raises(ModelError, match="it cannot be opened"):
            processes.open(artifact[:-1000])
        run(pool, test)


def test_a_model_is_dropped_when_nobody_refers_to_it(artifact: bytes) -> None:
    async def test() -> None:
        with pytest.raises(Problem, match="unexpected"):
            await asked(pool, stranger, GOOD)
        [outcome] = await asked(pool, processes.open(artifact), GOOD)
        assert isinstance(outcome, Prediction)

    with started() as (processes, pool):
        model = processes.open(artifact)
        stranger = replace(model)
        processes.drop_unused()
        del model
        processes.drop_unused()
        run(pool, test)


def test_a_model_that_was_opened_twice_stays_while_it_is_used(artifact: bytes) -> None:
    async def test() -> None:
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)

    with started() as (processes, pool):
        model = processes.open(artifact)
        again = processes.open(artifact)
        del again
        processes.drop_unused()
        run(pool, test)


def test_a_process_that_hangs_is_replaced(artifact: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        os.kill(processes.pids[0], signal.SIGSTOP)
        with pytest.raises(Problem, match="unexpected"):
            await asked(pool, model, GOOD)
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)

    monkeypatch.setattr("app.inference.pool.HUNG_S", 1.0)
    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)
