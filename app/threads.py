"""Threads that wait for what would block the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from app.problems import Busy

T = TypeVar("T")


class Threads:
    """A fixed set of threads that wait for what would block the event loop.

    Every method is called from the event loop.

    Args:
        threads: calls that run at once.
        queue: further calls that may wait; more are refused.
        deadline_s: seconds that a call may wait; then it is refused without having run.
        name: of the threads.
    """

    def __init__(self, threads: int, queue: int, deadline_s: float, name: str) -> None:
        self._room = threads + queue
        self._deadline_s = deadline_s
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]

    @property
    def waiting(self) -> int:
        """Calls that no thread has begun."""
        return self._calls.qsize()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads when all calls are done."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread and give its result.

        Raises:
            Busy: if the queue is full, or no thread was free in time.
        """
        if self._room <= 0:
            raise Busy("Too many requests wait for the database: try again in a second.")
        return await self._run(call, self._deadline_s)

    async def resume(self, call: Callable[[], T]) -> T:
        """Run a further call of a response that has begun: it waits like the others, but is never refused."""
        return await self._run(call, inf)

    async def _run(self, call: Callable[[], T], deadline_s: float) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        expires = monotonic() + deadline_s

        def begin() -> None:
            if future.cancelled():
                return
            try:
                if monotonic() > expires:
                    raise Busy(f"No thread was free for {deadline_s:g} s: try again in a second.")
                result = call()
            except BaseException as error:
                _settle(loop, future, future.set_exception, error)
            else:
                _settle(loop, future, future.set_result, result)

        self._room -= 1
        try:
            self._calls.put(begin)
            return await future
        finally:
            self._room += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[Any], None], outcome: object
) -> None:
    """Wake whoever awaits the future, unless nobody does any more."""

    def settle_once() -> None:
        if not future.done():
            settle(outcome)

    with suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(settle_once)
