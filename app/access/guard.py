"""Default deny: every request needs a key, or for a page a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.address import client_address
from app.access.caller import Caller
from app.access.lookup import Lookup
from app.access.sessions import COOKIE, Session
from app.problems import Problem, Unauthorized


class Guard:
    """ASGI middleware: open paths pass, pages need a session, other paths need a valid key.

    The caller is stored in the request's state, for pages with the session. The routes check roles.

    Args:
        app: the next application.
        lookup: finds keys and sessions.
        open_paths: paths that need no key; a path that ends in ``/`` includes everything below it.
        is_page: whether a path is a page.
        page_refused: the response for a page without a valid session.
    """

    def __init__(
        self,
        app: ASGIApp,
        lookup: Lookup,
        open_paths: Iterable[str],
        is_page: Callable[[str], bool],
        page_refused: Callable[[Scope, Problem], Response],
    ) -> None:
        self.app = app
        self._lookup = lookup
        self._open = frozenset(path for path in open_paths if not path.endswith("/"))
        self._open_below = tuple(path for path in open_paths if path.endswith("/"))
        self._is_page = is_page
        self._page_refused = page_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_open(scope["path"]):
            page = self._is_page(scope["path"])
            try:
                state = scope.setdefault("state", {})
                if page:
                    state["session"] = await self._session(scope)
                    state["caller"] = state["session"].caller
                else:
                    state["caller"] = await self._caller(scope)
            except Problem as problem:
                response = self._page_refused(scope, problem) if page else problem.response()
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(self._open_below)

    async def _caller(self, scope: Scope) -> Caller:
        return await self._lookup.caller(_presented(scope), client_address(scope))

    async def _session(self, scope: Scope) -> Session:
        token = session_token(scope)
        session = await self._lookup.session(token, client_address(scope)) if token else None
        if session is None:
            raise Unauthorized("This page needs a valid session: sign in at /login.")
        return session


def session_token(scope: Scope) -> str:
    """The value of the request's session cookie; empty without one."""
    cookies = (value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
    return next((found[COOKIE] for found in map(cookie_parser, cookies) if COOKIE in found), "")


def _presented(scope: Scope) -> bytes:
    presented: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(presented) != 1:
        raise Unauthorized(f"{len(presented)} Authorization headers, expected one: Authorization: Bearer KEY.")
    scheme, _, key = presented[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthorized("The Authorization header does not begin with Bearer: send Authorization: Bearer KEY.")
    return key.strip()
