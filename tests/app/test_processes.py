"""How many patches share a call, and what becomes of a process that answers nonsense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.inference.frames import frame
from app.inference.model import Model, Prediction
from app.inference.pool import Pool
from app.inference.processes import Processes
from app.problems import Problem
from tests.app.test_pool import GOOD, asked, held, run, started, until
from tests.scale import AT_NIGHT


@pytest.fixture(scope="module")
def artifact(artifact_path: Path) -> bytes:
    return artifact_path.read_bytes()


async def left_waiting(processes: Processes, pool: Pool, model: Model, jobs: list[int]) -> int:
    """How many jobs wait when a busy process has been given its next batch; a job has so many patches."""
    with held(processes):
        first = asked(pool, model, GOOD)
        await until(lambda: pool.running == 1)
        tasks = [asked(pool, model, *[GOOD] * patches) for patches in jobs]
        for _ in range(4):  # the tasks begin, and what waits is handed over; the process itself does nothing
            await asyncio.sleep(0)
        waiting = pool.waiting
    for task, patches in zip([first, *tasks], [1, *jobs], strict=True):
        outcomes = await task
        assert len(outcomes) == patches
        assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    return waiting


@pytest.mark.parametrize(
    ("jobs", "waiting"),
    [([1] * 5, 0), ([1] * 10, 2), ([3, 3, 3], 1), ([8, 1], 1)],
    ids=["all", "at most eight", "patches count", "a job is not torn"],
)
def test_what_waits_shares_a_call(artifact: bytes, jobs: list[int], waiting: int) -> None:
    async def test() -> None:
        assert await left_waiting(processes, pool, model, jobs) == waiting

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_a_process_sees_no_setting(artifact: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSETTE_DATABASE_URL", "postgresql://rosette:secret@db/rosette")
    monkeypatch.setenv("ANOTHER_SECRET", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with started() as (processes, _pool):
        processes.open(artifact)  # while a program is being loaded, its environment reads as empty
        [environment] = {Path(f"/proc/{pid}/environ").read_bytes() for pid in processes.pids}
    assert b"OMP_NUM_THREADS=1" in environment.split(b"\0")
    assert b"secret" not in environment


NONSENSE = {
    "no message": b"\xff" * 8,
    "no JSON": b"\1\0\0\0\0\0\0\0{",
    "another message": frame({}),
    "no outcomes": frame({"outcomes": [1]}, [b""]),
    "too few": frame({"outcomes": []}),
    "an unknown problem": frame({"outcomes": [{"problem": "none", "detail": "", "extensions": {}}]}, [b""]),
    "a row without its time": frame({"outcomes": [{"values": {}, "times_ms": [1, 2, 3]}]}, [b"{}"]),
}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, marks=[] if kind in {"no message", "an unknown problem"} else AT_NIGHT, id=kind)
        for kind, data in NONSENSE.items()
    ],
)
def test_a_process_that_answers_nonsense_is_replaced(
    artifact: bytes, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        before = processes.pids
        with held(processes):
            lost = asked(pool, model, GOOD)
            await until(lambda: pool.running == 1)
            processes._workers[0].data_received(data)
            with pytest.raises(Problem, match="Nothing was recorded"):
                await lost
            await until(lambda: processes.pids != before)
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)
        assert processes.replaced == 1
        assert "what is no answer" in caplog.text

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)


def test_an_answer_that_nobody_asked_for_ends_the_process(artifact: bytes) -> None:
    async def test() -> None:
        before = processes.pids
        processes._workers[0].data_received(frame({"outcomes": []}))
        await until(lambda: processes.pids != before)
        [outcome] = await asked(pool, model, GOOD)
        assert isinstance(outcome, Prediction)

    with started() as (processes, pool):
        model = processes.open(artifact)
        run(pool, test)
