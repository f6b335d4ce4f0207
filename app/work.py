"""The one bounded hand-off from the event loop to threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from app.problems import Busy

T = TypeVar("T")


class Workers:
    """Threads that do what would block the event loop.

    Args:
        threads: calls that run at once.
        queue: further calls that may wait; more are refused.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._limiter = CapacityLimiter(threads)
        self._room = threads + queue

    @property
    def room(self) -> int:
        """Calls that would still be taken now."""
        return self._room

    def refuse_when_full(self) -> None:
        """Raise Busy if a call would be refused now."""
        if self._room <= 0:
            raise Busy("All workers are busy and the queue is full: try again in a second.")

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread and give its result.

        Raises:
            Busy: if the queue is full.
        """
        self.refuse_when_full()
        return await self.resume(call)

    async def resume(self, call: Callable[[], T]) -> T:
        """Run a further call of a response that has begun: it waits like the others, but is never refused."""
        self._room -= 1
        try:
            return await to_thread.run_sync(call, limiter=self._limiter)
        finally:
            self._room += 1
