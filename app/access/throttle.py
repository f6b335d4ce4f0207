"""Slows down whoever tries keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from threading import Lock
from time import monotonic

from app.access.address import neighbourhood
from app.problems import TooManyTries

RECOVERY_S = 6.0
SIZE = 10_000


class FailedTries:
    """A token bucket for each client: a failed try takes a token, and one comes back every 6 seconds.

    Safe to use from several threads. The clients that failed last are remembered, at most 10 000.

    Args:
        burst: tokens of a full bucket.
        clock: seconds from any point on.
    """

    def __init__(self, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._slack_s = (burst - 1) * RECOVERY_S
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def check(self, address: str) -> None:
        """Refuse a client whose bucket is empty.

        Raises:
            TooManyTries: with the seconds until the next token.
        """
        with self._lock:
            full_at = self._full_at.get(neighbourhood(address))
        if full_at is None:
            return
        wait_s = full_at - self._clock() - self._slack_s
        if wait_s > 0:
            raise TooManyTries("Too many wrong keys came from this address: check the key, and wait.", ceil(wait_s))

    def count(self, address: str) -> None:
        """Take a token."""
        client, now = neighbourhood(address), self._clock()
        with self._lock:
            self._full_at[client] = max(self._full_at.get(client, now), now) + RECOVERY_S
            self._full_at.move_to_end(client)
            if len(self._full_at) > SIZE:
                self._full_at.popitem(last=False)
