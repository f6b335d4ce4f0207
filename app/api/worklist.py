"""``GET /worklist``: cases and answers with the state that people gave them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from app import problems
from app.access.caller import Caller
from app.access.dependencies import MayRead
from app.api import errors
from app.api.filters import NAMES, Wanted
from app.api.query import KnownParameters
from app.records.filters import Filter
from app.records.verdicts import State, Verdict
from app.records.worklist import AMONG, WorkOrder
from app.services import Services, services_of
from model_zoo.decision import Decision, Label

router = APIRouter(prefix="/worklist", tags=["worklist"])

MAX_LIMIT = 200
DOUBT = "From 0 to 1: how close the probability is to the review band, or how far the turns disagree."
TheServices = Annotated[Services, Depends(services_of)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Query(ge=0, le=AMONG, description="`next` of the page before.")]
Unread = Annotated[bool, Query(description="Only answers that the caller has not judged.")]
ListNames = Annotated[None, Depends(KnownParameters("limit", "offset", "order", "unread", *NAMES))]


class CaseSummary(BaseModel):
    case_id: str | None = Field(description="Null for the answers that name no case.")
    state: State = Field(description="`disagreed` if one of its answers is, else `open` if one is.")
    answers: int
    slides: int
    open: int
    judged: int
    disagreed: int
    doubt: float | None = Field(description=f"The largest of the answers that are not judged. {DOUBT}")
    first: AwareDatetime
    last: AwareDatetime


class CasePage(BaseModel):
    cases: list[CaseSummary]
    next: int | None = Field(description="The offset of the next page; null on the last.")


class WorkAnswer(BaseModel):
    id: UUID
    created_at: AwareDatetime
    key_id: str
    key_name: str | None
    case_id: str | None
    slide_id: str | None
    file_name: str | None = Field(description="Null unless the server stores names and the request stated one.")
    model_name: str
    model_version: str
    probability: float | None
    label: Label | None
    decision: Decision
    max_deviation: float
    consistent: bool | None
    doubt: float = Field(description=DOUBT)
    state: State
    verdict: Verdict | None = Field(
        description="The verdict that counts; null also while it is hidden from the caller."
    )
    readers: int
    own: Verdict | None = Field(description="The caller's own latest verdict.")
    stored: bool = Field(description="Whether the patch is stored.")


class AnswerPage(BaseModel):
    answers: list[WorkAnswer]
    next: int | None = Field(description="The offset of the next page; null on the last.")


@router.get("", summary="List cases", responses=errors.responses(*problems.ALWAYS))
async def list_cases(
    caller: MayRead,
    _: ListNames,
    services: TheServices,
    wanted: Wanted,
    order: WorkOrder = WorkOrder.DOUBT,
    unread: Unread = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> CasePage:
    """The cases of the newest 10,000 answers that match and that the caller may read.

    With `state`, those that have such an answer.
    """
    confined = _confined(wanted, caller, unread)
    found = await services.io.run(partial(services.worklist.cases, confined, order, limit + 1, offset))
    cases = [CaseSummary(state=each.state, **vars(each)) for each in found[:limit]]
    return CasePage(cases=cases, next=offset + limit if len(found) > limit else None)


@router.get("/answers", summary="List answers with their state", responses=errors.responses(*problems.ALWAYS))
async def list_answers(
    caller: MayRead,
    _: ListNames,
    services: TheServices,
    wanted: Wanted,
    order: WorkOrder = WorkOrder.DOUBT,
    unread: Unread = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> AnswerPage:
    """Of the newest 10,000 answers that match and that the caller may read; those of one `case_id` by slide."""
    read = partial(services.worklist.answers, _confined(wanted, caller, unread), order, limit + 1, offset)
    found = await services.io.run(partial(read, caller.actor.reviewer, caller.reads_blind))
    answers = [WorkAnswer.model_validate(vars(each)) for each in found[:limit]]
    return AnswerPage(answers=answers, next=offset + limit if len(found) > limit else None)


def _confined(wanted: Filter, caller: Caller, unread: bool) -> Filter:
    return replace(wanted, scope=caller.scope, unread_by=caller.actor.reviewer if unread else None)
