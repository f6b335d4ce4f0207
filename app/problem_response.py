"""A problem as an HTTP response; the inference processes have problems too, and do not load this."""

from __future__ import annotations

import json
from typing import Any

from httptools import HttpParserCallbackError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import request_id
from app.problems import MEDIA_TYPE, Problem, problem_body

STATE = "problem"
INFERENCE_PROTOCOL = "/v2"  # whose clients read ``error``


class ProblemResponse(Response):
    """A problem as an HTTP response; it leaves the problem's name in the request's state, for the metrics."""

    media_type = MEDIA_TYPE

    def __init__(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(json.dumps(body, ensure_ascii=False).encode(), status_code=body["status"], headers=headers)
        self._problem = body
        self._name = body["type"].rpartition("/")[2]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[STATE] = self._name
        path: str = scope["path"]
        if path == INFERENCE_PROTOCOL or path.startswith(f"{INFERENCE_PROTOCOL}/"):
            body = {"error": self._problem["detail"]} | self._problem
            self.body = json.dumps(body, ensure_ascii=False).encode()
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def response_of(problem: Problem) -> Response:
    return ProblemResponse(problem.body(), problem.headers)


def headers_and_body(slug: str, title: str, status: int, detail: str) -> bytes:
    """What stands behind the status line of a problem that the HTTP protocol itself answers; then it closes."""
    content = json.dumps(problem_body(slug, title, status, detail)).encode()
    headers = (
        f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
        f"{request_id.HEADER}: {request_id.new()}\r\n\r\n"
    )
    return headers.encode() + content


def fault_of(error: BaseException | None) -> str:
    """What httptools, or a check that it called, found wrong with a request; empty if nothing was raised."""
    cause = error.__context__ if isinstance(error, HttpParserCallbackError) else error
    detail = str(cause or error or "")
    if "PRI" in detail:  # how httptools calls the first bytes of HTTP/2
        return "expected HTTP/1.1, found HTTP/2: send HTTP/1.1 requests, or let a proxy translate"
    return detail
