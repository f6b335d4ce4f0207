"""``/admin/acceptance``: recorded acceptance tests of models."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app import problems
from app.access.dependencies import MayAdminister
from app.api import errors
from app.api.query import KnownParameters
from app.records.acceptances import Acceptance
from app.services import Services, services_of
from model_zoo.acceptance import AcceptanceReport, Outcome

router = APIRouter(prefix="/admin/acceptance", tags=["models"])

NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]


class ListedAcceptance(BaseModel):
    id: str
    model_sha256: str
    outcome: Outcome
    site: str
    patches: int
    tested_by: str
    tested_at: datetime

    @classmethod
    def of(cls, found: Acceptance) -> ListedAcceptance:
        """A recorded test."""
        return cls.model_validate(vars(found))


class AcceptanceTests(BaseModel):
    acceptance_tests: list[ListedAcceptance] = Field(description="Newest first, at most 200.")


class AcceptanceDetail(ListedAcceptance):
    report: AcceptanceReport


@router.get("", summary="List the acceptance tests", responses=errors.responses(*problems.ALWAYS))
async def list_acceptance(caller: MayAdminister, _: NoParameters, services: TheServices) -> AcceptanceTests:
    """Those that `rosette acceptance` recorded in this database."""
    found = await services.io.run(services.acceptances.listing)
    return AcceptanceTests(acceptance_tests=[ListedAcceptance.of(each) for each in found])


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
