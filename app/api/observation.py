"""Every request is given an id, timed, counted and logged, and traced where that was asked for."""

from __future__ import annotations

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs, problems, request_id
from app.access.address import client_address
from app.metrics import METHODS, OTHER_METHOD, Metrics
from app.telemetry import Tracing

log = logging.getLogger("rosette.access")
# What these answer is in the database, with its time, key and duration; a line for each would cost as much as parsing.
# That they were busy is counted.
RECORDED = frozenset({"/predict", "/predict/batch"})

failures = logging.getLogger("rosette.failures")


class Observation:
    """Outermost middleware, so that refusals are observed too.

    Nothing of what it notes was chosen by the caller, but for an ``X-Request-ID`` that is fit for it: of the URL only
    the route's template, of the method only known ones.

    Args:
        app: what lies behind.
        metrics: counts.
        tracing: makes a span of each request, if there is any.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        self.app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        identity = request_id.accepted(scope["headers"])
        # Never taken back: the server gives each request a context of its own, and logs in it what we raise.
        request_id.current.set(identity)
        echo = (request_id.HEADER.lower().encode(), identity.encode())
        span = self._tracing.begin(scope["headers"], identity) if self._tracing else None
        status: int | None = None

        async def marked_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), echo]
            await send(message)

        try:
            await self.app(scope, receive, marked_send)
        finally:
            seconds = perf_counter() - start
            method, route = method_of(scope), route_of(scope)
            self._metrics.request(route, method, status, seconds)
            state = scope.get("state", {})
            problem = state.get(problems.STATE)
            if problem:
                self._metrics.problem(problem)
            if span is not None and self._tracing:
                self._tracing.end(span, method, route, status)
            quiet = route in RECORDED and (status == 200 or problem == problems.Busy.slug)
            level = logging.DEBUG if quiet else logging.INFO
            if log.isEnabledFor(level):
                caller = state.get("caller")
                key_id = caller.key_id if caller else None
                _log_access(level, method, route, status, seconds, key_id, client_address(scope))


class Failures:
    """Innermost middleware: an error that nobody foresaw is logged, once, and answered.

    If the response has begun, the server logs it instead and breaks the connection off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except Exception:
            if begun or scope["type"] != "http":
                raise
            failures.exception("%s %s failed", method_of(scope), route_of(scope))
            await problems.unexpected().response()(scope, receive, send)


def method_of(scope: Scope) -> str:
    """A request's method, if it is a known one."""
    method: str = scope["method"]
    return method if method in METHODS else OTHER_METHOD


def route_of(scope: Scope) -> str | None:
    """The template of the route that a request came to, such as ``/predictions/{prediction_id}``."""
    return getattr(scope.get("route"), "path_format", None)


def _log_access(
    level: int,
    method: str,
    route: str | None,
    status: int | None,
    seconds: float,
    key_id: str | None,
    address: str,
) -> None:
    duration_ms = round(seconds * 1000, 2)
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": duration_ms,
        "key_id": key_id,
        "address": address,
    }
    log.log(
        level,
        "%s %s %s in %s ms for %s from %s",
        method,
        route or "(no route)",
        status or "(no response)",
        duration_ms,
        key_id or "nobody",
        address,
        extra={logs.FIELDS: fields},
    )
