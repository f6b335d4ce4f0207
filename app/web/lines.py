"""A response of HTML fragments, one a line, each sent as soon as it is there; a script inserts them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from anyio import create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.rendering import HEADERS, render

Lines = MemoryObjectSendStream[str]


class LiveLines(Response, ABC):
    """A long task that tells how it goes; the last line is the result.

    A script reads this, so the status is 200 for every result.
    """

    def __init__(self) -> None:
        super().__init__(media_type="text/html", headers=HEADERS)
        del self.headers["Content-Length"]

    @abstractmethod
    async def work(self, lines: Lines) -> None:
        """Do it, and send lines; the first one after the request's body has been read, or refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lines, found = create_memory_object_stream[str](64)
        begun = False
        async with create_task_group() as tasks, found:
            tasks.start_soon(self._work, lines)
            async for line in found:
                if not begun:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    begun = True
                await send({"type": "http.response.body", "body": f"{line}\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _work(self, lines: Lines) -> None:
        with lines:
            await self.work(lines)


def line(template: str, **context: Any) -> str:
    """A rendered fragment in one line."""
    return " ".join(render(template, **context).split())
