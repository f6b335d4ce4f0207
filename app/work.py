"""How the event loop waits for threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

from app.problems import Busy

T = TypeVar("T")


class Reply(Generic[T]):
    """Where a thread leaves what a coroutine awaits.

    Attributes:
        future: belongs to the event loop that made the reply.
    """

    __slots__ = ("_loop", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more."""
        return self.future.cancelled()

    def give(self, result: T | BaseException) -> None:
        """Wake the coroutine with a result, or with an error to raise; from any thread."""
        call_in(self._loop, self.settle, result)

    def settle(self, result: T | BaseException) -> None:
        """The same, in the event loop's thread."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[T], None], argument: T) -> None:
    """Have an event loop call something soon, from any thread; nothing happens if it has been closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, argument)


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
        reply: Reply[T] = Reply()
        expires = monotonic() + deadline_s

        def begin() -> None:
            try:
                if reply.abandoned:
                    return
                if monotonic() > expires:
                    raise Busy(f"No thread was free for {deadline_s:g} s: try again in a second.")
                reply.give(call())
            except BaseException as error:
                reply.give(error)

        self._room -= 1
        try:
            self._calls.put(begin)
            return await reply.future
        finally:
            self._room += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
