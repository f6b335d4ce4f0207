"""The outermost layer: every request gets an id, is timed, counted and logged; every response gets strict headers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

from opentelemetry.trace import Span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs, problems, request_id
from app.access.address import client_address
from app.metrics import METHODS, OTHER_METHOD, Metrics
from app.problem_response import STATE, response_of
from app.telemetry import Tracing

log = logging.getLogger("rosette.access")
# What these answer is in the database, with its time, key and duration; a line for each would cost as much as parsing.
# That they were busy is counted.
_INFER = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
RECORDED = frozenset({"/predict", "/predict/batch", *_INFER})

failures = logging.getLogger("rosette.failures")

_REQUEST_ID = request_id.HEADER.lower().encode()
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_HEAD = "head"
_CLOSE = (b"connection", b"close")
_UNLESS_SET = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Edge:
    """ASGI middleware around everything, so that refusals are observed too.

    HEAD is answered as GET would be, without the body. An error that nobody foresaw is logged, once, and answered; if
    the response has begun, the server logs it instead and breaks the connection off.

    Nothing of what is noted was chosen by the caller, but for an ``X-Request-ID`` that is fit for it: of the URL only
    the route's template, of the method only known ones.

    Args:
        app: what lies behind; it sees GET for HEAD.
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
        span = self._tracing.begin(scope["headers"], identity) if self._tracing else None
        state = scope.setdefault("state", {})
        seen = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        state[_HEAD] = scope["method"] == "HEAD"
        response = _Response(send, identity, scope["method"] == "HEAD", state.get("unread"))
        try:
            try:
                await self.app(seen, receive, response.send)
            except Exception:
                if response.status is not None:
                    raise
                failures.exception("%s %s failed", method_of(scope), getattr(seen.get("route"), "path_format", None))
                await response_of(problems.unexpected())(seen, receive, response.send)
        finally:
            if seen is not scope and "route" in seen:
                scope["route"] = seen["route"]
            self._note(scope, response.status, perf_counter() - start, span)

    def _note(self, scope: Scope, status: int | None, seconds: float, span: Span | None) -> None:
        method, state = method_of(scope), scope["state"]
        route = getattr(scope.get("route"), "path_format", None)
        self._metrics.request(route, method, status, seconds)
        problem = state.get(STATE)
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


class _Response:
    """What is sent, with the headers that every response has.

    Without the ``Connection: close``, the server would read the rest of a refused body only to throw it away.

    Attributes:
        status: of the response; None before it has begun.
    """

    __slots__ = ("_headless", "_identity", "_send", "_unread", "status")

    def __init__(self, send: Send, identity: str, headless: bool, unread: Callable[[], bool] | None) -> None:
        self.status: int | None = None
        self._send = send
        self._identity = identity
        self._headless = headless
        self._unread = unread

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), _NO_SNIFFING, (_REQUEST_ID, self._identity.encode())]
            names = dict(headers)
            for header in _UNLESS_SET:
                if header[0] not in names:
                    headers.append(header)
            if self._unread is not None and self._unread():
                headers.append(_CLOSE)
            message["headers"] = headers
        elif self._headless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def is_head(scope: Scope) -> bool:
    """Whether a request that the application sees as GET is HEAD, so that what only the body needs can be left out."""
    return bool(scope["state"].get(_HEAD))


def method_of(scope: Scope) -> str:
    """A request's method, if it is a known one."""
    method: str = scope["method"]
    return method if method in METHODS else OTHER_METHOD


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
