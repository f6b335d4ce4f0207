"""What every response says beside its content."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Busy


class Connection:
    """Middleware: bounds the bodies in flight, closes after unread ones, and sets strict headers.

    Without the ``Connection: close``, the server would read the rest of a refused body only to throw it away.

    Args:
        app: what lies behind.
        uploads: requests with a body that may be in flight at once; more are refused with 503.
    """

    def __init__(self, app: ASGIApp, uploads: int) -> None:
        self.app = app
        self._room = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        unread = uploads = _announces_a_body(scope)

        async def watched_receive() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            return message

        async def marked_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
                if unread:
                    headers["Connection"] = "close"
            await send(message)

        if uploads and self._room == 0:
            busy = Busy("Too many requests with a body are in flight: try again in a second.")
            await busy.response()(scope, watched_receive, marked_send)
            return
        self._room -= uploads
        try:
            await self.app(scope, watched_receive, marked_send)
        finally:
            self._room += uploads


def _announces_a_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""
