"""Live vetting of an upload: one line of HTML per step, as soon as it is done."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import CapacityLimiter, create_memory_object_stream, create_task_group, from_thread, to_thread
from anyio.streams.memory import MemoryObjectSendStream
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.upload import ArtifactReader
from app.problems import Problem, VettingUnavailable
from app.records.audit import Actor
from app.registry.registry import Upload, UploadResult
from app.registry.sandbox import SandboxUnavailable
from app.services import Services
from app.web.rendering import HEADERS, render
from model_zoo.proof import Step

Lines = MemoryObjectSendStream[str]


class LiveVetting(Response):
    """Receives an artifact, vets it, and streams the steps; the last line is the result.

    A script reads this, so the status is 200 for every result.
    """

    def __init__(self, services: Services, reader: ArtifactReader, request: Request, actor: Actor) -> None:
        super().__init__(media_type="text/html", headers=HEADERS)
        del self.headers["Content-Length"]
        self._services = services
        self._reader = reader
        self._request = request
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lines, found = create_memory_object_stream[str](64)
        begun = False
        async with create_task_group() as tasks, found:
            tasks.start_soon(self._vet, lines)
            async for line in found:
                if not begun:  # the body has been read completely, or refused
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    begun = True
                await send({"type": "http.response.body", "body": f"{line}\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _vet(self, lines: Lines) -> None:
        with lines:
            try:
                async with self._services.vetting, self._reader.receive(self._request) as upload:
                    admit = partial(self._admit, upload, lines)
                    admission = await to_thread.run_sync(admit, limiter=CapacityLimiter(1))
            except SandboxUnavailable as error:
                await lines.send(_line("_refused.html", problem=VettingUnavailable(f"{error}.")))
            except Problem as problem:
                await lines.send(_line("_refused.html", problem=problem))
            else:
                await lines.send(_line("_admitted.html", entry=admission.entry, new=admission.new))

    def _admit(self, upload: Upload, lines: Lines) -> UploadResult:
        def tell(step: Step) -> None:
            from_thread.run(lines.send, _line("_step.html", step=step))

        return self._services.registry.admit(upload, self._actor, tell)


def _line(template: str, **context: Any) -> str:
    return " ".join(render(template, **context).split())
