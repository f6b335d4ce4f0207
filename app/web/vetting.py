"""Live vetting of an upload: one line of HTML per step, as soon as it is done."""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, from_thread, to_thread
from starlette.requests import Request

from app.api.upload import ArtifactReader
from app.problems import Problem, VettingUnavailable
from app.records.audit import Actor
from app.registry.registry import Upload, UploadResult
from app.registry.sandbox import SandboxUnavailable
from app.services import Services
from app.web.lines import Lines, LiveLines, line
from model_zoo.proof import Step


class LiveVetting(LiveLines):
    """Receives an artifact, vets it, and streams the steps."""

    def __init__(self, services: Services, reader: ArtifactReader, request: Request, actor: Actor) -> None:
        super().__init__()
        self._services = services
        self._reader = reader
        self._request = request
        self._actor = actor

    async def work(self, lines: Lines) -> None:
        try:
            async with self._services.vetting, self._reader.receive(self._request) as upload:
                admit = partial(self._admit, upload, lines)
                admission = await to_thread.run_sync(admit, limiter=CapacityLimiter(1))
        except SandboxUnavailable as error:
            await lines.send(line("_refused.html", problem=VettingUnavailable(f"{error}.")))
        except Problem as problem:
            await lines.send(line("_refused.html", problem=problem))
        else:
            await lines.send(line("_admitted.html", entry=admission.entry, new=admission.new))

    def _admit(self, upload: Upload, lines: Lines) -> UploadResult:
        def tell(step: Step) -> None:
            from_thread.run(lines.send, line("_step.html", step=step))

        return self._services.registry.admit(upload, self._actor, tell)
