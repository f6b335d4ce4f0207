"""``HEAD`` for whatever answers ``GET``."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MARK = "rosette.head"


def is_head(scope: Scope) -> bool:
    """Whether a request that looks like GET was HEAD, so that what only its body needs can be left out."""
    return _MARK in scope


class Head:
    """Middleware: answers HEAD as GET would be answered, without the body.

    Args:
        app: what lies behind; it sees GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET", _MARK: True}
        try:
            await self.app(asked, receive, send_without_body)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]  # for the log and the metrics
