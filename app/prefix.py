"""A path below which a proxy serves everything, such as ``/rosette``."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROOT: ContextVar[str] = ContextVar("root", default="")


class Prefix:
    """Middleware that takes the prefix from paths, if the proxy has left it there, and puts it before redirects.

    Nothing that a client sends has a say in it. Pages and their links take it from :data:`ROOT`.

    Args:
        app: what lies behind.
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
    """A path below the root as it is without it; any other path as it is."""
    if path == root:
        return "/"
    return path[len(root) :] if path.startswith(f"{root}/") else path
