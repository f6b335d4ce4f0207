"""``/predictions/{prediction_id}/reviews``: a person's decision beside the machine's."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.dependencies import MayReview
from app.api import errors
from app.api.json_body import JsonReader, described
from app.api.query import KnownParameters
from app.records.verdicts import Verdict
from app.services import Services, services_of

router = APIRouter(prefix="/predictions/{prediction_id}/reviews", tags=["predictions"])

MAX_NOTE = 4000


class NewReview(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Verdict = Field(description="Whether the person agrees with the answer's decision.")
    note: str = Field("", max_length=MAX_NOTE, pattern=r"^[^\x00]*$")  # PostgreSQL stores no NUL


class StoredReview(BaseModel):
    id: UUID
    prediction_id: UUID
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str


class ReviewList(BaseModel):
    reviews: list[StoredReview] = Field(description="Oldest first.")


@router.post(
    "",
    status_code=201,
    summary="Judge a recorded answer",
    openapi_extra=described(NewReview),
    responses=errors.responses(
        *problems.ALWAYS,
        problems.UnknownPrediction,
        problems.InvalidJson,
        problems.UnsupportedContentType,
        problems.BodyTooLarge,
        problems.BodyTooSlow,
        problems.BodyIncomplete,
    ),
)
async def add_review(
    request: Request,
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
) -> StoredReview:
    """The answer stays word for word as it was; the review is stored beside it, and in the audit trail."""
    new = await JsonReader(NewReview, services.settings.body_timeout_s).parse(request)
    add = partial(services.reviews.add, prediction_id, new.verdict, new.note, caller.actor)
    review = await services.io.run(add)
    if review is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id}.")
    return StoredReview.model_validate(asdict(review))


@router.get(
    "",
    summary="Read an answer's reviews",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownPrediction),
)
async def list_reviews(
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
) -> ReviewList:
    """Every person's verdict on one recorded answer."""
    if await services.io.run(partial(services.predictions.find, prediction_id)) is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id}.")
    found = await services.io.run(partial(services.reviews.of, prediction_id))
    return ReviewList(reviews=[StoredReview.model_validate(asdict(review)) for review in found])
