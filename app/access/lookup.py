"""Looks up keys and sessions, in a bounded number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from app.access.caller import Caller
from app.access.keys import Keys
from app.access.sessions import Session, Sessions
from app.access.throttle import FailedTries
from app.problems import RecordsUnavailable, Unauthorized

LOOKUPS = 4
PATIENCE_S = 2.0

T = TypeVar("T")


class Lookup:
    """Looks up keys and sessions, and limits failed tries.

    Args:
        keys: the valid keys.
        failed_tries: the rate limit of wrong keys.
        sessions: the open sessions.

    Attributes:
        known: returns the caller, if the key was confirmed recently; for the event loop.
    """

    def __init__(self, keys: Keys, failed_tries: FailedTries, sessions: Sessions) -> None:
        self._keys = keys
        self.known = keys.cache.known
        self._failed_tries = failed_tries
        self._sessions = sessions
        self._limiter = CapacityLimiter(LOOKUPS)

    async def caller(self, key: bytes, address: str) -> Caller:
        """The caller with this key.

        Raises:
            Unauthorized: if the key is not valid.
            TooManyTries: if too many wrong keys came from this address.
            RecordsUnavailable: if the database fails.
        """
        caller = self._keys.known(key)
        if caller is None:
            remembered = self._keys.remembered(key)
            if not remembered:
                self._failed_tries.check(address)
            caller = await self._asked(partial(self._look_up, key, address, remembered))
            if caller is None and (caller := self._keys.trusted(key)) is None:
                raise RecordsUnavailable("The database is unavailable, so the key cannot be checked: try again.")
        return replace(caller, address=address)

    async def session(self, token: str, address: str) -> Session | None:
        """The session with this token; None if there is none, or it has ended.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        found = await self._asked(lambda: (self._sessions.find(token),))
        if found is None:
            raise RecordsUnavailable("The database is unavailable, so the session cannot be checked: try again.")
        [session] = found
        return session and replace(session, caller=replace(session.caller, address=address))

    async def _asked(self, question: Callable[[], T]) -> T | None:
        """The result of a query; None if the database hangs. The waiting thread is not used until it returns."""
        asking = asyncio.ensure_future(to_thread.run_sync(question, limiter=self._limiter))
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        if done:
            return asking.result()
        asking.add_done_callback(_disregard)  # no other request waits for it
        return None

    def _look_up(self, key: bytes, address: str, remembered: bool) -> Caller:
        if not remembered:  # others from this address may have failed while this one waited for a thread
            self._failed_tries.check(address)
        caller = self._keys.caller(key)
        if caller is None:
            self._failed_tries.count(address)
            raise Unauthorized(
                "The key is unknown, revoked or expired: check it, or ask your administrator for a new one."
            )
        return caller


def _disregard(asked: asyncio.Future[Any]) -> None:
    """Have nobody complain of an error that nobody waits for."""
    if not asked.cancelled():
        asked.exception()
