"""A problem as an HTTP response; the inference processes have problems too, and do not load this."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.problems import MEDIA_TYPE, Problem

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
