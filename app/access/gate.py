"""Default deny: who may come in, and how much at a time, before anything else of a request is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from fastapi.routing import APIRoute
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.address import UNKNOWN, address_of, client_address
from app.access.caller import Caller
from app.access.dependencies import RequireRole
from app.access.lookup import Lookup
from app.access.sessions import COOKIE, Session
from app.problem_response import response_of
from app.problems import Busy, Problem, Unauthorized


class Gate:
    """ASGI middleware that lets open paths through, pages only with a session, and others only with a valid key.

    The caller is left in the request's state, for pages with the session. Roles are checked by the routes. For a
    browser at any other address the session is left there, too: what is refused can then be explained to a person.

    Requests of *direct* routes go past FastAPI's router and dependencies, which cost more than such a route itself.
    Their endpoint takes the request as its one argument; the others are there for the description. Of these requests,
    what cannot be answered now is refused before its key is looked up: while much is asked, that should cost little.

    Args:
        app: what lies behind.
        lookup: who may come in.
        open_paths: paths that need no key; one that ends in ``/`` opens everything below it.
        is_page: whether a path is a page's.
        page_refused: answers a request for a page that was not let through.
        bodies: requests with a body that may be in flight at once; more are refused with 503.
        direct: routes without parameters in their paths, and who may call them.
        check_room: raises Busy if a direct route's request could not be answered now.
    """

    def __init__(
        self,
        app: ASGIApp,
        lookup: Lookup,
        open_paths: Iterable[str],
        is_page: Callable[[str], bool],
        page_refused: Callable[[Scope, Problem], Response],
        bodies: int,
        direct: Iterable[tuple[APIRoute, RequireRole]] = (),
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.app = app
        self._lookup = lookup
        self._open = frozenset(path for path in open_paths if not path.endswith("/"))
        self._open_below = tuple(path for path in open_paths if path.endswith("/"))
        self._is_page = is_page
        self._page_refused = page_refused
        self._room = bodies
        self._direct = {
            (method, route.path): (route, roles) for route, roles in direct for method in route.methods or ()
        }
        self._check_room = check_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route, roles = self._direct.get((scope["method"], scope["path"]), (None, None))
        if route is not None:
            scope["route"] = route
        body = _announces_a_body(scope["headers"])
        if body and self._room == 0:
            busy = Busy("Too many requests with a body are in flight: try again in a second.")
            await response_of(busy)(scope, receive, send)
            return
        self._room -= body
        try:
            response = await self._refusal(scope, roles)
            if response is None and route is None:
                await self.app(scope, receive, send)
                return
            if response is None and route is not None:
                try:
                    response = await route.endpoint(Request(scope, receive))
                except Problem as problem:
                    response = response_of(problem)
            assert response is not None
            await response(scope, receive, send)
        finally:
            self._room += body

    async def _refusal(self, scope: Scope, direct: RequireRole | None) -> Response | None:
        """What is answered to a request that is not let through."""
        path: str = scope["path"]
        if path in self._open or path.startswith(self._open_below):
            return None
        page = direct is None and self._is_page(path)
        state = scope.setdefault("state", {})
        try:
            if direct is not None:
                self._check_room()
            if page:
                state["session"] = await self._session(scope)
                state["caller"] = state["session"].caller
            else:
                state["caller"] = caller = await self._caller(scope)
                if direct is not None and caller.role not in direct.roles:
                    raise direct.forbidden(caller)
        except Problem as problem:
            if not page:
                if not _browses(scope):
                    return response_of(problem)
                with suppress(Problem):
                    state["session"] = await self._session(scope)
            return self._page_refused(scope, problem)
        return None

    async def _caller(self, scope: Scope) -> Caller:
        key, client = _presented(scope["headers"]), scope.get("client")
        address = address_of(client[0]) if client else UNKNOWN
        if (caller := self._lookup.known(key)) is None:
            caller = await self._lookup.caller(key, address)
        return replace(caller, address=address)

    async def _session(self, scope: Scope) -> Session:
        token = session_token(scope)
        session = await self._lookup.session(token, client_address(scope)) if token else None
        if session is None:
            raise Unauthorized("This page needs a session, and there is none or it has ended: sign in at /login.")
        return session


def session_token(scope: Scope) -> str:
    """What the request's session cookie holds; empty if it has none."""
    cookies = (value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
    return next((found[COOKIE] for found in map(cookie_parser, cookies) if COOKIE in found), "")


def _browses(scope: Scope) -> bool:
    """Whether somebody opened an address in a browser, which sends no key."""
    headers = dict(scope["headers"])
    return scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b"") and b"authorization" not in headers


def _presented(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The only key that a request presents."""
    presented: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            presented.append(value)
    if len(presented) != 1:
        found = f"{len(presented)} Authorization headers" if presented else "No Authorization header"
        raise Unauthorized(f"{found}, expected one: Authorization: Bearer KEY.")
    scheme, _, key = presented[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthorized("The Authorization header does not begin with Bearer: send Authorization: Bearer KEY.")
    return key.strip()


def _announces_a_body(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    announced = dict(headers)
    return b"transfer-encoding" in announced or announced.get(b"content-length", b"0").strip(b"0") != b""
