"""A live acceptance test: the progress and the refused files as they are found, and then the outcome."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from app.acceptance_run import SiteRequest
from app.api.admission import client_gone
from app.diagnosis.acceptance import AnsweredPatch
from app.problems import Problem
from app.records.audit import Actor
from app.services import Services
from app.web.lines import Lines, LiveLines, line
from app.web.site_form import SiteReader


class LiveAcceptance(LiveLines):
    """Receives a site's patches and tests a model on them."""

    def __init__(self, services: Services, model_id: str, reader: SiteReader, request: Request, actor: Actor) -> None:
        super().__init__()
        self._services = services
        self._model_id = model_id
        self._reader = reader
        self._request = request
        self._actor = actor

    async def work(self, lines: Lines) -> None:
        number = 0

        async def receive() -> SiteRequest:
            nonlocal number
            asked = await self._reader.receive(self._request)
            number = len(asked.patches)
            return asked

        async def tell(done: int, some: Sequence[AnsweredPatch]) -> None:
            for each in some:
                if each.refusal:
                    await lines.send(line("_site_refused.html", name=each.patch.name, why=each.refusal))
            await lines.send(line("_site_progress.html", done=done, all=number))

        try:
            runs, gone = self._services.acceptance_runs, client_gone(self._request)
            found, report = await runs.run(self._model_id, receive, self._actor, gone, tell)
        except Problem as problem:
            await lines.send(line("_site_ended.html", problem=problem))
        else:
            await lines.send(line("_site_ended.html", problem=None, found=found, report=report))
