"""Whose key or whose session comes with a request, found out in few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

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
    """Asks for keys and sessions, and lets whoever tries many keys wait.

    Args:
        keys: who may come in.
        failed_tries: who must wait before another key is looked up.
        sessions: of people who have come in.

    Attributes:
        known: whose key this is, if it was confirmed lately; for the event loop.
    """

    def __init__(self, keys: Keys, failed_tries: FailedTries, sessions: Sessions) -> None:
        self._keys = keys
        self.known = keys.cache.known
        self._failed_tries = failed_tries
        self._sessions = sessions
        self._limiter = CapacityLimiter(LOOKUPS)

    async def caller(self, key: bytes, address: str) -> Caller:
        """Whose key this is.

        Raises:
            Unauthorized: if it is nobody's.
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
                raise RecordsUnavailable("The database does not answer, so the key cannot be checked: try again.")
        return replace(caller, address=address)

    async def session(self, token: str, address: str) -> Session | None:
        """The session with this token; None if there is none, or it has ended.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        found = await self._asked(lambda: (self._sessions.find(token),))
        if found is None:
            raise RecordsUnavailable("The database does not answer, so the session cannot be checked: try again.")
        [session] = found
        return session and replace(session, caller=replace(session.caller, address=address))

    async def _asked(self, question: Callable[[], T]) -> T | None:
        """What the database answers; None if it hangs. The thread that waits for it is given up until it comes back."""
        asking = asyncio.ensure_future(to_thread.run_sync(question, limiter=self._limiter))
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        if done:
            return asking.result()
        asking.add_done_callback(asyncio.Future.exception)  # nobody else looks
        return None

    def _look_up(self, key: bytes, address: str, remembered: bool) -> Caller:
        if not remembered:  # others from this address may have failed while this one waited for a thread
            self._failed_tries.check(address)
        caller = self._keys.caller(key)
        if caller is None:
            self._failed_tries.count(address)
            raise Unauthorized(
                "The key is unknown, revoked or expired: check it, or ask your administrator for another."
            )
        return caller
