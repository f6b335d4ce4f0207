"""Whose key or whose session comes with a request, found out in few threads."""

from __future__ import annotations

from dataclasses import replace

from anyio import CapacityLimiter, to_thread

from app.access.caller import Caller
from app.access.keys import Keys
from app.access.sessions import Session, Sessions
from app.access.throttle import FailedTries
from app.problems import Unauthorized

LOOKUPS = 4


class Lookup:
    """Asks for keys and sessions, and lets whoever tries many keys wait.

    Args:
        keys: who may come in.
        failed_tries: who must wait before another key is looked up.
        sessions: of people who have come in.
    """

    def __init__(self, keys: Keys, failed_tries: FailedTries, sessions: Sessions) -> None:
        self._keys = keys
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
            caller = await to_thread.run_sync(self._look_up, key, address, remembered, limiter=self._limiter)
        return replace(caller, address=address)

    async def session(self, token: str, address: str) -> Session | None:
        """The session with this token; None if there is none, or it has ended.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        session = await to_thread.run_sync(self._sessions.find, token, limiter=self._limiter)
        return session and replace(session, caller=replace(session.caller, address=address))

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
