"""Rate limits for wrong keys and for patches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from threading import Lock
from time import monotonic

from app.access.address import neighbourhood
from app.problems import RateExceeded, TooManyTries

RECOVERY_S = 6.0
SIZE = 10_000


class TokenBuckets:
    """A bucket of tokens for each client. Safe to use from several threads.

    The 10 000 clients that took tokens last are stored; other buckets count as full.

    Args:
        burst: tokens of a full bucket.
        recovery_s: seconds in which one token comes back.
        clock: seconds from an arbitrary start.
    """

    def __init__(self, burst: float, recovery_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._slack_s = (burst - 1) * recovery_s
        self._recovery_s = recovery_s
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, client: str) -> float:
        """Seconds until the client's bucket holds a token; 0 or less if it does."""
        with self._lock:
            full_at = self._full_at.get(client)
        return 0.0 if full_at is None else full_at - self._clock() - self._slack_s

    def take(self, client: str, tokens: float = 1) -> None:
        """Take tokens; the balance may become negative."""
        now = self._clock()
        with self._lock:
            self._full_at[client] = max(self._full_at.get(client, now), now) + tokens * self._recovery_s
            self._full_at.move_to_end(client)
            if len(self._full_at) > SIZE:
                self._full_at.popitem(last=False)


class FailedTries:
    """A failed try takes a token of its client's network; one returns every 6 seconds.

    Args:
        burst: failed tries that are accepted at once.
        clock: seconds from an arbitrary start.
    """

    def __init__(self, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._buckets = TokenBuckets(burst, RECOVERY_S, clock)

    def check(self, address: str) -> None:
        """Refuse a client whose bucket is empty.

        Raises:
            TooManyTries: with the seconds until the next token.
        """
        if (wait_s := self._buckets.wait_s(neighbourhood(address))) > 0:
            raise TooManyTries("Too many wrong keys came from this address: check the key and try later.", ceil(wait_s))

    def count(self, address: str) -> None:
        """Take a token."""
        self._buckets.take(neighbourhood(address))


class KeyRates:
    """Limit of patches per second for each key, with bursts of one second.

    Args:
        rate: patches per second; None for no limit.
        clock: seconds from an arbitrary start.

    Attributes:
        limited: whether there is a limit.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self.limited = bool(rate)
        self._buckets = TokenBuckets(max(1.0, rate), 1 / rate, clock) if rate else None

    def check(self, key_id: str) -> None:
        """Refuse a key that exceeds its rate; refused patches do not count.

        Raises:
            RateExceeded: with the seconds until the next patch is accepted.
        """
        if self._buckets and (wait_s := self._buckets.wait_s(key_id)) > 0:
            raise RateExceeded(f"The key may send {self._rate:g} patches per second: try again later.", ceil(wait_s))

    def count(self, key_id: str, patches: int = 1) -> None:
        """Count admitted patches; a batch may exceed the rate and delays later requests."""
        if self._buckets:
            self._buckets.take(key_id, patches)
