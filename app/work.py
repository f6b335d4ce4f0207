"""The one bounded hand-off from the event loop to threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar

from app.problems import Busy, ClientGone

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
        with suppress(RuntimeError):  # the event loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._settle, result)

    def _settle(self, result: T | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Wish(Reply[T]):
    """A reply that somebody waits for, though not for ever.

    Args:
        deadline_s: seconds after which it need not be begun.
        gone: whether whoever asked has left.
    """

    __slots__ = ("_deadline_s", "_expires", "_gone")

    def __init__(self, deadline_s: float, gone: Callable[[], bool]) -> None:
        super().__init__()
        self._deadline_s = deadline_s
        self._expires = monotonic() + deadline_s
        self._gone = gone

    def still_wanted(self) -> bool:
        """Whether to begin; if not, it has been told why."""
        if self.abandoned:
            return False
        if self._gone():
            self.give(ClientGone("The client has left: its request was not run."))
            return False
        if monotonic() > self._expires:
            self.give(Busy(f"No worker was free for {self._deadline_s:g} s: try again in a second."))
            return False
        return True


class Workers:
    """A fixed set of threads that do what would block the event loop.

    Every method but :meth:`share` is called from the event loop.

    Args:
        threads: calls that run at once.
        queue: further calls that may wait; more are refused.
        deadline_s: seconds that a call may wait; then it is refused without having run.
        name: of the threads.
    """

    def __init__(self, threads: int, queue: int, deadline_s: float, name: str = "worker") -> None:
        self.threads = threads
        self._room = threads + queue
        self._deadline_s = deadline_s
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = [False] * threads
        self._threads = [
            threading.Thread(target=self._work, args=[n], name=f"{name}-{n}", daemon=True) for n in range(threads)
        ]

    @property
    def running(self) -> int:
        """Threads that are busy."""
        return sum(self._busy)

    @property
    def waiting(self) -> int:
        """Calls that no thread has begun."""
        return self._calls.qsize()

    @property
    def idle(self) -> int:
        """Threads that would help now."""
        return max(0, self.threads - self.running - self.waiting)

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

    def refuse_when_full(self) -> None:
        """Raise Busy if a call would be refused now."""
        if self._room <= 0:
            raise Busy("All workers are busy and the queue is full: try again in a second.")

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread and give its result.

        Raises:
            Busy: if the queue is full, or no thread was free in time.
        """
        return await self.hand_over(lambda reply: reply.give(call()))

    async def hand_over(
        self,
        call: Callable[[Reply[T]], None],
        *,
        admitted: bool = False,
        gone: Callable[[], bool] = lambda: False,
    ) -> T:
        """Run ``call`` in a thread; what it, or another thread that it tells, gives the reply is the result.

        Args:
            admitted: the call belongs to a response that has begun: it waits like others, but is never refused.
            gone: whether whoever asked has left; asked in the thread, just before the call would run.

        Raises:
            Busy: if the queue is full, or no thread was free in time.
            ClientGone: if whoever asked has left; the call has not been run.
        """
        if not admitted:
            self.refuse_when_full()
        wish = self.wish(inf if admitted else self._deadline_s, gone)

        def begin() -> None:
            try:
                if wish.still_wanted():
                    call(wish)
            except BaseException as error:
                wish.give(error)

        return await self.fulfilled(wish, begin)

    def wish(self, deadline_s: float | None = None, gone: Callable[[], bool] = lambda: False) -> Wish[Any]:
        """A reply that nobody need wait for longer than the deadline, by default the workers'."""
        return Wish(self._deadline_s if deadline_s is None else deadline_s, gone)

    async def fulfilled(self, wish: Wish[T], call: Callable[[], None]) -> T:
        """Have a thread call ``call``; gives what somebody gave the wish, be it that call or another one."""
        self._room -= 1
        try:
            self._calls.put(call)
            return await wish.future
        finally:
            self._room += 1

    async def resume(self, call: Callable[[], T]) -> T:
        """Run a further call of a response that has begun: it waits like the others, but is never refused."""
        return await self.hand_over(lambda reply: reply.give(call()), admitted=True)

    def share(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls from within a worker, with the help of threads that have nothing else to do.

        Returns:
            Their results, in their order.
        """
        shared = _Shared(calls)
        for _ in range(min(self.idle, len(calls) - 1)):
            self._calls.put(shared.help)
        return shared.finish()

    def _work(self, number: int) -> None:
        while (call := self._calls.get()) is not None:
            self._busy[number] = True
            call()
            self._busy[number] = False


class _Shared(Generic[T]):
    """Calls that several threads take from one end, and their results."""

    def __init__(self, calls: Sequence[Callable[[], T]]) -> None:
        self._todo = deque(enumerate(calls))
        self._results: dict[int, T] = {}
        self._errors: list[BaseException] = []
        self._left = len(calls)
        self._done = threading.Semaphore(0)

    def help(self) -> None:
        while True:
            try:
                index, call = self._todo.popleft()
            except IndexError:
                return
            try:
                self._results[index] = call()
            except BaseException as error:
                self._errors.append(error)
            self._done.release()

    def finish(self) -> list[T]:
        self.help()
        for _ in range(self._left):
            self._done.acquire()
        if self._errors:
            raise self._errors[0]
        return [self._results[index] for index in range(self._left)]
