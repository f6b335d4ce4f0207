"""Acceptance tests on patches that were sent to the server: answered in spare time, judged, and recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from app.diagnosis.acceptance import (
    AnsweredPatch,
    SitePatch,
    acceptance_report,
    acceptance_rule,
    check_amount,
    check_site,
)
from app.diagnosis.report import Answer
from app.diagnosis.scale import Mpp
from app.inference.model import Model, Prediction
from app.inference.pool import MAX_BATCH, Pool
from app.inference.worker import Job, Outcome
from app.problems import Busy, InvalidForm
from app.records.acceptances import Acceptance, Acceptances
from app.records.audit import Actor
from app.registry.serving import Serving
from model_zoo.acceptance import AcceptanceReport
from model_zoo.orbit import Rotations

BUSY = "Another acceptance test is running: wait until it has ended."

Tell = Callable[[int, Sequence[AnsweredPatch]], Awaitable[None]]


@dataclass(frozen=True)
class SiteRequest:
    """A site's patches, and what is said of them.

    Attributes:
        site: the site's name, for the report.
        source: where the patches come from, for the report.
        mpp: the patches' microns per pixel, as in a request.
    """

    patches: Sequence[SitePatch]
    site: str
    source: str
    mpp: Mpp = None


class AcceptanceRuns:
    """Tests models of the registry, one test at a time; patches of other requests go first.

    All methods belong to the event loop.
    """

    def __init__(self, pool: Pool, serving: Serving, acceptances: Acceptances) -> None:
        self._pool = pool
        self._serving = serving
        self._acceptances = acceptances
        self._one = CapacityLimiter(1)

    def check_free(self) -> None:
        """Raise Busy if a test is running."""
        if self._one.borrowed_tokens:
            raise Busy(BUSY)

    async def run(
        self,
        model_id: str,
        asked: Callable[[], Awaitable[SiteRequest]],
        actor: Actor,
        gone: Callable[[], bool],
        tell: Tell,
    ) -> tuple[Acceptance, AcceptanceReport]:
        """Receive, answer and judge a site's patches, and record the report. Nothing is recorded of a refused test.

        Args:
            asked: receives the request.
            gone: whether whoever asked has left.
            tell: is told how many patches are done, and which those are, a few at a time.

        Raises:
            InvalidForm: if the patches do not suffice, or one occurs twice.
            Busy: if a test is running.
            UnknownModel, ModelUnusable, ClientGone, RecordsUnavailable: as their names say.
            Problem: as ``asked`` does.
        """
        self.check_free()
        async with self._one:
            request = await asked()
            model = await to_thread.run_sync(self._serving.borrow, model_id)
            try:
                acceptance_rule(model.manifest)
                check_site(request.site)
                check_amount([patch.label for patch in request.patches])
                answered = await self._answered(model, request, gone, tell)
                report = await to_thread.run_sync(partial(_report, model, request, answered))
            except ValueError as error:
                raise InvalidForm(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
            return await to_thread.run_sync(self._acceptances.add, report, actor), report

    async def _answered(
        self, model: Model, request: SiteRequest, gone: Callable[[], bool], tell: Tell
    ) -> list[AnsweredPatch]:
        found: list[AnsweredPatch] = []
        for begin in range(0, len(request.patches), MAX_BATCH):
            some = request.patches[begin : begin + MAX_BATCH]
            names = [(None, None, request.mpp)] * len(some)
            job = Job(model, Rotations.FULL, [patch.read() for patch in some], names, gone)
            outcomes = await self._pool.run_in_spare_time(job)
            done = [_answered_patch(patch, outcome) for patch, outcome in zip(some, outcomes, strict=True)]
            found += done
            await tell(len(found), done)
        return found


def _answered_patch(patch: SitePatch, outcome: Outcome) -> AnsweredPatch:
    if isinstance(outcome, Prediction):
        return AnsweredPatch(patch, Answer.model_validate_json(outcome.values["answer"]))
    return AnsweredPatch(patch, None, outcome.detail)


def _report(model: Model, request: SiteRequest, answered: Sequence[AnsweredPatch]) -> AcceptanceReport:
    return acceptance_report(
        model.manifest, model.sha256, answered, site=request.site, source=request.source, mpp=request.mpp
    )
