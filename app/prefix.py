"""The path prefix under which a proxy serves Rosette, such as ``/rosette``."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROOT: ContextVar[str] = ContextVar("root", default="")


class Prefix:
    """Middleware that removes the prefix from paths, if the proxy has kept it, and adds it to redirects.

    It does not depend on the request. Pages and their links read it from :data:`ROOT`.

    Args:
        app: the next application.
        root: begins with a slash and does not end with one.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ROOT.set(self._root)
        scope["path"] = without(self._root, scope["path"])
        scope["raw_path"] = without(self._root, scope["raw_path"].decode("latin-1")).encode("latin-1")

        async def prefixed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(name, self._located(name, value)) for name, value in message["headers"]]
            await send(message)

        await self.app(scope, receive, prefixed_send)

    def _located(self, name: bytes, value: bytes) -> bytes:
        return self._root.encode() + value if name.lower() == b"location" and value.startswith(b"/") else value


def without(root: str, path: str) -> str:
    """A path without the prefix; other paths are unchanged."""
    if path == root:
        return "/"
    return path[len(root) :] if path.startswith(f"{root}/") else path
