"""The hand-off to threads: bounded, in order, given up when nobody waits, and shared when threads are idle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.problems import Busy, ClientGone
from app.work import Workers


@contextmanager
def started(threads: int = 1, queue: int = 8, deadline_s: float = 30) -> Iterator[Workers]:
    workers = Workers(threads, queue, deadline_s)
    workers.start()
    yield workers
    workers.stop()


class Held:
    """A call that lasts until it is released."""

    def __init__(self) -> None:
        self.began, self.release = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.release.wait(30)


async def begun(workers: Workers) -> tuple[Held, asyncio.Task[None]]:
    """A call that a thread is running."""
    held = Held()
    task = asyncio.create_task(workers.run(held))
    while not held.began.is_set():
        await asyncio.sleep(0)
    return held, task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_results_and_errors_come_back() -> None:
    async def test() -> None:
        assert await workers.run(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
        assert await workers.resume(threading.get_ident) != threading.get_ident()

    with started() as workers:
        run(test())


def test_what_does_not_fit_is_refused_and_what_has_begun_is_not() -> None:
    async def test() -> None:
        held, first = await begun(workers)
        second = asyncio.create_task(workers.run(lambda: "waited"))
        await until(lambda: workers.waiting == 1)
        with pytest.raises(Busy):
            await workers.run(lambda: "refused")
        resumed = asyncio.create_task(workers.resume(lambda: "resumed"))
        await until(lambda: workers.waiting == 2)
        assert (workers.running, workers.idle) == (1, 0)
        held.release.set()
        await first
        assert [await second, await resumed] == ["waited", "resumed"]
        assert await workers.run(lambda: "again") == "again"

    with started(queue=1) as workers:
        run(test())


def test_a_call_that_waited_beyond_its_deadline_is_not_run() -> None:
    async def test() -> None:
        held = Held()
        # The first call has no deadline.
        first = asyncio.create_task(workers.resume(held))
        await until(held.began.is_set)
        late = asyncio.create_task(workers.run(lambda: ran.append("late")))
        await until(lambda: workers.waiting == 1)
        held.release.set()
        await first
        with pytest.raises(Busy, match="No worker was free"):
            await late
        assert ran == []

    ran: list[str] = []
    with started(deadline_s=-1) as workers:
        run(test())


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_call_that_nobody_waits_for_is_not_run(how: str) -> None:
    async def test() -> None:
        held, first = await begun(workers)
        left: asyncio.Task[None] = asyncio.create_task(
            workers.hand_over(lambda _: ran.append("left"), gone=lambda: how == "gone")
        )
        await until(lambda: workers.waiting == 1)
        if how == "cancelled":
            left.cancel()
        held.release.set()
        await first
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ClientGone):
            await left
        assert await workers.run(lambda: "next") == "next"
        assert ran == []

    ran: list[str] = []
    with started() as workers:
        run(test())


def test_idle_threads_take_a_share_and_results_keep_their_order() -> None:
    """Two calls that wait for each other can only end if two threads run them."""
    both = threading.Barrier(2, timeout=30)

    def meet(name: str) -> tuple[str, int]:
        both.wait()
        return name, threading.get_ident()

    async def test() -> None:
        shared = await workers.run(lambda: workers.share([lambda: meet("a"), lambda: meet("b")]))
        assert [name for name, _ in shared] == ["a", "b"]
        assert len({thread for _, thread in shared}) == 2

    with started(threads=2) as workers:
        run(test())


def test_busy_threads_leave_the_whole_to_the_one_that_asks() -> None:
    async def test() -> None:
        held, first = await begun(workers)
        idents = await workers.run(lambda: workers.share([threading.get_ident] * 3))
        assert len(set(idents)) == 1
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: workers.share([lambda: 0, lambda: 1 // 0]))
        held.release.set()
        await first

    with started(threads=2) as workers:
        run(test())


def test_stopping_finishes_what_was_accepted() -> None:
    async def test() -> None:
        done = [asyncio.create_task(workers.run(lambda n=n: n)) for n in range(5)]  # type: ignore[misc]
        await asyncio.sleep(0)
        await asyncio.to_thread(workers.stop)
        assert [await each for each in done] == list(range(5))

    workers = Workers(2, 8, 30)
    workers.start()
    run(test())
