"""Routes that FastAPI describes, but whose requests go past its router and dependencies: these cost more than they."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar, cast
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.query import check_names
from app.problems import Busy, InvalidParameter, Problem

Parameters = TypeVar("Parameters", bound=BaseModel)


class Admission:
    """Middleware: recognizes such routes' requests, and refuses at once what could not be answered now.

    While much is asked, what is refused should cost little: not even its key is looked up.

    Args:
        app: what lies behind; :class:`Shortcut` innermost.
        routes: without parameters in their paths.
        check: raises Busy.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], check: Callable[[], None]) -> None:
        self.app = app
        self._check = check
        self._routes = {
            (method, route.path): route for route in cast(Iterable[APIRoute], routes) for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (route := self._routes.get((scope["method"], scope["path"]))):
            scope["route"] = route
            try:
                self._check()
            except Busy as busy:
                await busy.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Shortcut:
    """Innermost middleware: hands the requests of routes that were recognized to their endpoints.

    Such an endpoint takes the request as its one argument; the others are there for the description.

    Args:
        app: what lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: APIRoute | None = scope.get("route")
        if route is None:
            await self.app(scope, receive, send)
            return
        try:
            response: Response = await route.endpoint(Request(scope, receive))
        except Problem as problem:
            response = problem.response()
        await response(scope, receive, send)


def query(request: Request, model: type[Parameters]) -> Parameters:
    """The query parameters, as a model's fields.

    Raises:
        InvalidParameter: if one is unknown, repeated or does not fit.
    """
    return cast(Parameters, _parsed(model, request.scope["query_string"]))


@lru_cache(256)
def _parsed(model: type[Parameters], text: bytes) -> Parameters:
    pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True)
    check_names((name for name, _ in pairs), model.model_fields)
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        found = [f"query.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise InvalidParameter("; ".join(found)) from error


def client_gone(request: Request) -> Callable[[], bool]:
    """Whether the client has closed its connection; the server leaves this in the request's state."""
    gone: Callable[[], bool] = request.scope.get("state", {}).get("gone", lambda: False)
    return gone
