"""The hand-off to threads: bounded, in order, and abandoned when nobody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.problems import Busy
from app.threads import Threads


@contextmanager
def started(threads: int = 1, queue: int = 8, deadline_s: float = 30) -> Iterator[Threads]:
    waiters = Threads(threads, queue, deadline_s, "test")
    waiters.start()
    yield waiters
    waiters.stop()


class Held:
    """A call that lasts until it is released."""

    def __init__(self) -> None:
        self.began, self.release = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.release.wait(30)


async def begun(waiters: Threads) -> tuple[Held, asyncio.Task[None]]:
    """A call that a thread is running."""
    held = Held()
    task = asyncio.create_task(waiters.run(held))
    while not held.began.is_set():
        await asyncio.sleep(0)
    return held, task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_results_and_errors_come_back() -> None:
    async def test() -> None:
        assert await waiters.run(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            await waiters.run(lambda: 1 // 0)
        assert await waiters.resume(threading.get_ident) != threading.get_ident()

    with started() as waiters:
        run(test())


def test_what_does_not_fit_is_refused_and_what_has_begun_is_not() -> None:
    async def test() -> None:
        held, first = await begun(waiters)
        second = asyncio.create_task(waiters.run(lambda: "waited"))
        await until(lambda: waiters.waiting == 1)
        with pytest.raises(Busy):
            await waiters.run(lambda: "refused")
        resumed = asyncio.create_task(waiters.resume(lambda: "resumed"))
        await until(lambda: waiters.waiting == 2)
        held.release.set()
        await first
        assert [await second, await resumed] == ["waited", "resumed"]
        assert await waiters.run(lambda: "again") == "again"

    with started(queue=1) as waiters:
        run(test())


def test_a_call_that_waited_beyond_its_deadline_is_not_run() -> None:
    async def test() -> None:
        held = Held()
        # The first call has no deadline.
        first = asyncio.create_task(waiters.resume(held))
        await until(held.began.is_set)
        late = asyncio.create_task(waiters.run(lambda: ran.append("late")))
        await until(lambda: waiters.waiting == 1)
        held.release.set()
        await first
        with pytest.raises(Busy, match="No thread was free"):
            await late
        assert ran == []

    ran: list[str] = []
    with started(deadline_s=-1) as waiters:
        run(test())


def test_a_call_that_nobody_waits_for_is_not_run() -> None:
    async def test() -> None:
        held, first = await begun(waiters)
        left = asyncio.create_task(waiters.run(lambda: ran.append("left")))
        await until(lambda: waiters.waiting == 1)
        left.cancel()
        held.release.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await left
        assert await waiters.run(lambda: "next") == "next"
        assert ran == []

    ran: list[str] = []
    with started() as waiters:
        run(test())


def test_stopping_finishes_what_was_accepted() -> None:
    async def test() -> None:
        done = [asyncio.create_task(waiters.run(lambda n=n: n)) for n in range(5)]  # type: ignore[misc]
        await asyncio.sleep(0)
        await asyncio.to_thread(waiters.stop)
        assert [await each for each in done] == list(range(5))

    waiters = Threads(2, 8, 30, "test")
    waiters.start()
    run(test())
