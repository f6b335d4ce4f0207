"""``/agreement``: how far people agree with the answers, and random samples of answers to judge."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.caller import Caller, Role
from app.access.dependencies import RequireRole
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.records.agreement import MAX_DRAWN, MAX_MONTHS, Judged, ModelMonth, Month, Share
from app.services import Services, services_of
from app.wording import MONTH, SHA256

router = APIRouter(prefix="/agreement", tags=["agreement"])

MayLook = Depends(RequireRole(Role.READ, Role.REVIEW))
# Samples are drawn from everybody's answers, which a pathologist may not read.
MayDraw = Annotated[Caller, Depends(RequireRole(Role.REVIEW))]
TheServices = Annotated[Services, Depends(services_of)]


class ShareWithInterval(BaseModel):
    count: int
    n: int
    value: float | None = Field(description="Null for n = 0, as are the two that follow.")
    low: float | None = Field(description="95 % Wilson interval.")
    high: float | None

    @classmethod
    def of(cls, share: Share) -> Self:
        """A share with its interval."""
        low, high = share.interval
        return cls(count=share.count, n=share.n, value=share.value, low=low, high=high)


class AgreementFigures(BaseModel):
    agreement: ShareWithInterval = Field(description="Of the judged answers that the model decided itself.")
    kappa: float | None = Field(description="Cohen's kappa of the model and the people; null if it is not defined.")
    left: int = Field(description="Judged answers that the model had left to a person; they count in no share.")
    disputed: int = Field(description="Answers of which people say different things; they count in no share.")


class RandomFigures(AgreementFigures):
    sensitivity: ShareWithInterval
    specificity: ShareWithInterval


class MonthlyAgreement(BaseModel):
    model_sha256: str
    name: str
    version: str
    month: str = Field(description="YYYY-MM, UTC.")
    answers: int
    reviewed: ShareWithInterval = Field(description="Judged or disputed, of all answers.")
    drawn_reviewed: ShareWithInterval = Field(description="Judged or disputed, of the drawn answers.")
    random: RandomFigures = Field(description="Of the answers that were drawn at random.")
    others: AgreementFigures = Field(
        description="Of the answers that people chose themselves, such as the doubtful ones first: they say nothing "
        "about sensitivity and specificity."
    )

    @classmethod
    def of(cls, found: ModelMonth) -> Self:
        """A month's figures."""
        chosen = found.random
        rates = {name: ShareWithInterval.of(getattr(chosen, name)) for name in ("sensitivity", "specificity")}
        return cls(
            model_sha256=found.model_sha256,
            name=found.name,
            version=found.version,
            month=found.month,
            answers=found.answers,
            reviewed=ShareWithInterval.of(Share(found.reviewed, found.answers)),
            drawn_reviewed=ShareWithInterval.of(Share(found.drawn_reviewed, found.drawn)),
            random=RandomFigures(**_figures(chosen), **rates),
            others=AgreementFigures(**_figures(found.others)),
        )


class AgreementReport(BaseModel):
    months: list[MonthlyAgreement] = Field(description="Newest first; months without a judged or drawn answer miss.")


class SampleRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    month: str = Field(pattern=MONTH, description="YYYY-MM, UTC.")
    n: int = Field(ge=1, le=MAX_DRAWN)
    model: str | None = Field(None, pattern=SHA256, description="SHA-256; by default the model that serves.")


class Sample(BaseModel):
    drawn: list[str] = Field(description="Ids; fewer than asked for if the month has no more that are not drawn yet.")


class WaitingSample(BaseModel):
    waiting: list[str] = Field(description="Ids of drawn answers that nobody has judged, in the order of the draws.")


@router.get("", summary="Read the agreement with people", responses=errors.responses(*problems.ALWAYS))
async def read_agreement(
    services: TheServices,
    _: Annotated[None, Depends(KnownParameters("months"))],
    caller: Annotated[Any, MayLook],
    months: Annotated[int, Query(ge=1, le=MAX_MONTHS)] = 12,
) -> AgreementReport:
    """Per model and month. Only answers that were drawn at random give sensitivity and specificity."""
    read = partial(services.agreement.months, datetime.now(UTC), months)
    found = await to_thread.run_sync(read, limiter=services.counting)
    return AgreementReport(months=[MonthlyAgreement.of(each) for each in found])


@router.get("/sample", summary="List the drawn answers to judge", responses=errors.responses(*problems.ALWAYS))
async def read_sample(
    services: TheServices, _: Annotated[None, Depends(KnownParameters())], caller: MayDraw
) -> WaitingSample:
    """At most 500."""
    return WaitingSample(waiting=await services.io.run(partial(services.agreement.waiting, MAX_DRAWN)))


@router.post(
    "/sample",
    status_code=201,
    summary="Draw answers to judge at random",
    openapi_extra=described(SampleRequest),
    responses=errors.responses(
        *problems.ALWAYS,
        *OF_JSON,
    ),
)
async def draw_sample(
    request: Request, services: TheServices, _: Annotated[None, Depends(KnownParameters())], caller: MayDraw
) -> Sample:
    """From the answers of a model and month that are not drawn yet, each with the same probability."""
    wanted = await JsonReader(SampleRequest, services.settings.body_timeout_s).parse(request)
    model = wanted.model or services.model.sha256
    draw = partial(services.agreement.draw, month_of(wanted.month), model, wanted.n, caller.actor)
    return Sample(drawn=await services.io.run(draw))


def month_of(text: str) -> Month:
    """A month as YYYY-MM."""
    year, _, month = text.partition("-")
    return Month(int(year), int(month))


def _figures(found: Judged) -> dict[str, Any]:
    agreement = ShareWithInterval.of(found.agreement)
    return {"agreement": agreement, "kappa": found.kappa, "left": found.left, "disputed": found.disputed}
