"""Error pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from app.access.gate import session_token
from app.api import errors
from app.problem_response import response_of
from app.problems import InvalidParameter, MethodNotAllowed, NotFound, Problem, Unauthorized
from app.web.paths import LOGIN, home, is_page
from app.web.rendering import HEADERS, page
from app.web.strings import t
from app.wording import plain


class PageRoute(APIRoute):
    """A route that renders problems as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return problem_page(request, problem)
            except RequestValidationError as error:
                found = [f"{error['loc'][-1]}: {plain(error)}" for error in error.errors()]
                return problem_page(request, InvalidParameter("; ".join(found)))

        return handled


def refused(scope: Scope, problem: Problem) -> Response:
    """The response for a page without a valid session: browsers are redirected to the login page."""
    request = Request(scope)
    if "text/html" not in request.headers.get("accept", ""):
        return response_of(problem)
    if not isinstance(problem, Unauthorized):
        return problem_page(request, problem)
    if not is_page(scope["path"]):
        return problem_page(request, _no_page(scope))
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = {"next": request.url.path + query} if request.method == "GET" and request.url.path != "/" else {}
    ended = {"ended": "1"} if session_token(scope) else {}
    parameters = urlencode(wanted | ended)
    return RedirectResponse(f"{LOGIN}?{parameters}" if parameters else LOGIN, 303, headers=HEADERS)


async def http_error(request: Request, error: Exception) -> Response:
    """An address or a method that no route takes: a page for people who have signed in, else a problem."""
    status = error.status_code if isinstance(error, HTTPException) else 0
    if getattr(request.state, "session", None) is None or "text/html" not in request.headers.get("accept", ""):
        return await errors.http_error(request, error)
    match status:
        case 404:
            return problem_page(request, NotFound(t("problem.no_page")))
        case 405:
            return problem_page(request, MethodNotAllowed(t("problem.no_method")))
        case _:
            return await errors.http_error(request, error)


def _no_page(scope: Scope) -> Problem:
    """Why an address is no page; which addresses exist is not told to strangers."""
    if scope["state"].get("session") is None:
        return Unauthorized(t("problem.stranger"))
    routes = scope["app"].router.routes
    if any(route.matches(scope)[0] is not Match.NONE for route in routes):
        return Unauthorized(t("problem.api"))
    return NotFound(t("problem.no_page"))


def problem_page(request: Request, problem: Problem) -> Response:
    """A page that shows a problem and a link back."""
    session = getattr(request.state, "session", None)
    back = home(session.caller) if session else LOGIN
    response = page(request, "problem.html", problem.status, problem=problem, back=back)
    for name, value in problem.headers.items():
        if name != "WWW-Authenticate":
            response.headers[name] = value
    return response
