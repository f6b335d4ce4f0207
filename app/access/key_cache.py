"""A cache of valid keys."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from app.access.caller import Caller

FRESH_S = 60.0
SIZE = 4096


@dataclass(frozen=True)
class CachedKey:
    """A key that the database confirmed. Times are seconds since the epoch.

    Attributes:
        expires_at: when the key expires; None for never.
        confirmed_at: time of the last confirmation.
        fresh_until: until when no query is needed.
    """

    caller: Caller
    expires_at: float | None
    confirmed_at: float
    fresh_until: float


class KeyCache:
    """The most recently used verdicts by the SHA-256 of the key; thread-safe.

    The time of a dictionary lookup reveals nothing, because a caller cannot choose the bits of a SHA-256.

    Args:
        grace_s: seconds after its last confirmation for which a verdict is kept.
        clock: seconds since the epoch.
    """

    def __init__(self, grace_s: float, clock: Callable[[], float] = time.time) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._verdicts: OrderedDict[str, CachedKey] = OrderedDict()
        self._lock = Lock()
        self._revocations = 0

    @property
    def revocations(self) -> int:
        """The number of revocations; pass :meth:`keep` the value from before the query."""
        return self._revocations

    def known(self, presented: bytes) -> Caller | None:
        """Whose key this is, if it was confirmed within 60 seconds; takes microseconds."""
        now = self._clock()
        verdict = self.find(sha256(presented).hexdigest(), now)
        return verdict.caller if verdict is not None and now < verdict.fresh_until else None

    def find(self, digest: str, now: float) -> CachedKey | None:
        """The verdict for a key, unless it is too old, or the key has expired."""
        with self._lock:
            verdict = self._verdicts.get(digest)
            if verdict is None:
                return None
            # A clock that was set back must not extend a verdict.
            remembered = 0 <= now - verdict.confirmed_at < self._grace_s
            if not remembered or (verdict.expires_at is not None and now >= verdict.expires_at):
                del self._verdicts[digest]
                return None
            self._verdicts.move_to_end(digest)
            return verdict

    def keep(self, digest: str, verdict: CachedKey, revocations: int) -> None:
        """Store a verdict, unless a key was revoked since the query."""
        with self._lock:
            if revocations != self._revocations:
                return
            self._verdicts[digest] = verdict
            self._verdicts.move_to_end(digest)
            if len(self._verdicts) > SIZE:
                self._verdicts.popitem(last=False)

    def drop(self, digest: str) -> None:
        """Remove the key with this SHA-256."""
        with self._lock:
            self._verdicts.pop(digest, None)

    def revoke(self, key_id: str) -> None:
        """Remove the key with this id, and invalidate running queries."""
        with self._lock:
            self._revocations += 1
            for digest in [digest for digest, known in self._verdicts.items() if known.caller.key_id == key_id]:
                del self._verdicts[digest]
