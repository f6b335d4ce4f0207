"""Default deny: every request needs a key before anything else of it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from anyio import CapacityLimiter, to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.address import client_address
from app.access.caller import Caller
from app.access.keys import Keys
from app.access.throttle import FailedTries
from app.problems import Problem, RecordsUnavailable, Unauthorized

LOOKUPS = 4
PATIENCE_S = 2.0


class Guard:
    """ASGI middleware that lets open paths through, and others only with a valid key.

    The caller is left in the request's state. Roles are checked by the routes.

    Args:
        app: what lies behind.
        keys: who may come in.
        failed_tries: who must wait before another key is looked up.
        open_paths: paths that need no key; one that ends in ``/`` opens everything below it.
    """

    def __init__(self, app: ASGIApp, keys: Keys, failed_tries: FailedTries, open_paths: Iterable[str]) -> None:
        self.app = app
        self._keys = keys
        self._failed_tries = failed_tries
        self._open = frozenset(path for path in open_paths if not path.endswith("/"))
        self._open_below = tuple(path for path in open_paths if path.endswith("/"))
        self._limiter = CapacityLimiter(LOOKUPS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_open(scope["path"]):
            try:
                scope.setdefault("state", {})["caller"] = await self._caller(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(self._open_below)

    async def _caller(self, scope: Scope) -> Caller:
        key, address = _presented(scope), client_address(scope)
        caller = self._keys.known(key)
        if caller is None:
            remembered = self._keys.remembered(key)
            if not remembered:
                self._failed_tries.check(address)
            caller = await self._asked(key, address, remembered)
        return replace(caller, address=address)

    async def _asked(self, key: bytes, address: str, remembered: bool) -> Caller:
        """Whose key this is, by the database; if it hangs, by what it said last."""
        asking = asyncio.ensure_future(
            to_thread.run_sync(self._look_up, key, address, remembered, limiter=self._limiter)
        )
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        if done:
            return asking.result()
        asking.add_done_callback(asyncio.Future.exception)  # nobody else looks
        trusted = self._keys.trusted(key)
        if trusted is None:
            raise RecordsUnavailable("The database does not answer, so the key cannot be checked: try again.")
        return trusted

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


def _presented(scope: Scope) -> bytes:
    presented: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(presented) != 1:
        raise Unauthorized(f"{len(presented)} Authorization headers, expected one: Authorization: Bearer KEY.")
    scheme, _, key = presented[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthorized("The Authorization header does not begin with Bearer: send Authorization: Bearer KEY.")
    return key.strip()
