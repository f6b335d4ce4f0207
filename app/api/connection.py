"""What every response says beside its content."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Busy

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_CLOSE = (b"connection", b"close")
_UNLESS_SET = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


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
        uploads = _announces_a_body(scope)
        unread: Callable[[], bool] = scope.get("state", {}).get("unread", lambda: uploads)

        async def marked_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], _NO_SNIFFING]
                names = {name for name, _ in headers}
                headers += [header for header in _UNLESS_SET if header[0] not in names]
                if uploads and unread():
                    headers.append(_CLOSE)
                message["headers"] = headers
            await send(message)

        if uploads and self._room == 0:
            busy = Busy("Too many requests with a body are in flight: try again in a second.")
            await busy.response()(scope, receive, marked_send)
            return
        self._room -= uploads
        try:
            await self.app(scope, receive, marked_send)
        finally:
            self._room += uploads


def _announces_a_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""
