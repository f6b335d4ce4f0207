"""``/admin/acceptance``: acceptance tests of models."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.dependencies import MayAdminister
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.diagnosis.acceptance import MAX_SITE
from app.records.acceptances import Acceptance
from app.services import Services, services_of
from app.verdict_test import DAYS, MAX_DAYS
from app.wording import SHA256
from model_zoo.acceptance import AcceptanceReport, Kind, Outcome

router = APIRouter(prefix="/admin/acceptance", tags=["models"])

NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]

CANNOT_TEST = (problems.UnknownModel, problems.ModelUnusable, problems.NoVerdictTest)


class ListedAcceptance(BaseModel):
    id: str
    model_sha256: str
    outcome: Outcome
    site: str
    patches: int
    tested_by: str
    tested_at: datetime
    kind: Kind = Field(description="Whether labelled patches were judged, or people's verdicts.")

    @classmethod
    def of(cls, found: Acceptance) -> ListedAcceptance:
        """A recorded test."""
        return cls.model_validate(vars(found))


class AcceptanceTests(BaseModel):
    acceptance_tests: list[ListedAcceptance] = Field(description="Newest first, at most 200.")


class AcceptanceDetail(ListedAcceptance):
    report: AcceptanceReport


class VerdictTestRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, pattern=SHA256, description="SHA-256; by default the model that serves.")
    days: int = Field(DAYS, ge=1, le=MAX_DAYS, description="Answers and slide runs of the last days.")
    site: str = Field("", max_length=MAX_SITE, description="The site's name, for the report.")


@router.get("", summary="List the acceptance tests", responses=errors.responses(*problems.ALWAYS))
async def list_acceptance(caller: MayAdminister, _: NoParameters, services: TheServices) -> AcceptanceTests:
    """Those that are recorded in this database, from the command, the page and `POST /admin/acceptance/verdicts`."""
    found = await services.io.run(services.acceptances.listing)
    return AcceptanceTests(acceptance_tests=[ListedAcceptance.of(each) for each in found])


@router.post(
    "/verdicts",
    status_code=201,
    summary="Test a model on people's verdicts",
    openapi_extra=described(VerdictTestRequest),
    responses=errors.responses(*problems.ALWAYS, *CANNOT_TEST, *OF_JSON),
)
async def run_on_verdicts(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices
) -> AcceptanceDetail:
    """By the verdicts on answers that were drawn at random; with figures among the judged regions of slide runs."""
    asked = await JsonReader(VerdictTestRequest, services.settings.body_timeout_s).parse(request)
    model_id = asked.model or services.model.sha256

    def run() -> tuple[Acceptance, AcceptanceReport]:
        model = services.serving.borrow(model_id)
        return services.verdict_test.run(model, asked.days, asked.site, caller.actor)

    found, report = await to_thread.run_sync(run, limiter=services.counting)
    return AcceptanceDetail.model_validate(vars(found) | {"report": report})


@router.get(
    "/{acceptance_id}",
    summary="Read an acceptance test",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownAcceptance),
)
async def read_acceptance(
    caller: MayAdminister, _: NoParameters, services: TheServices, acceptance_id: str
) -> AcceptanceDetail:
    """The rule, what was found, and the outcome."""
    found, report = await services.io.run(partial(services.acceptances.find, acceptance_id))
    return AcceptanceDetail.model_validate(vars(found) | {"report": report})
