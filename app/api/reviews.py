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
from app.access.caller import Caller
from app.access.dependencies import MayRead, MayReview
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.records.verdicts import Review, State, Verdict, standing, visible_to
from app.services import Services, services_of
from app.wording import SHA256, WITHOUT_NUL

router = APIRouter(prefix="/predictions/{prediction_id}/reviews", tags=["predictions"])

MAX_NOTE = 4000


class NewReview(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Verdict = Field(description="Whether the person agrees with the answer's decision.")
    note: str = Field("", max_length=MAX_NOTE, pattern=WITHOUT_NUL)  # PostgreSQL stores no NUL
    patch_sha256: str | None = Field(
        None,
        pattern=SHA256,
        description="SHA-256 of the RGB bytes of the picture that the person saw: refused if it is not the answer's.",
    )


class StoredReview(BaseModel):
    id: UUID
    prediction_id: UUID
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str


class ReviewList(BaseModel):
    state: State = Field(description="`open` until somebody agrees or disagrees, `disagreed` while as many do either.")
    verdict: Verdict | None = Field(description="The verdict that counts; null unless judged, or while it is hidden.")
    readers: int = Field(description="How many people gave a verdict.")
    hidden: bool = Field(description="Whether others' verdicts are hidden until the caller's own is stored.")
    reviews: list[StoredReview] = Field(description="Oldest first; a person's latest counts.")


@router.post(
    "",
    status_code=201,
    summary="Judge a recorded answer",
    openapi_extra=described(NewReview),
    responses=errors.responses(
        *problems.ALWAYS,
        problems.UnknownPrediction,
        problems.WrongPicture,
        *OF_JSON,
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
    add = partial(
        services.reviews.add, prediction_id, new.verdict, new.note, caller.actor, caller.scope, new.patch_sha256
    )
    review = await services.io.run(add)
    if review is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id} that this key may read.")
    return StoredReview.model_validate(asdict(review))


@router.get(
    "",
    summary="Read an answer's reviews",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownPrediction),
)
async def list_reviews(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
) -> ReviewList:
    """What people said of one recorded answer, and its state.

    Roles review and pathologist see others' verdicts when their own is stored, or when others disagree.
    """
    if await services.io.run(partial(services.predictions.find, prediction_id, caller.scope)) is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id} that this key may read.")
    found = await services.io.run(partial(services.reviews.of, prediction_id))
    shown, its = shown_to(caller, found), standing(found)
    hidden = len(shown) < len(found)
    return ReviewList(
        state=its.state,
        verdict=None if hidden else its.verdict,
        readers=its.readers,
        hidden=hidden,
        reviews=[StoredReview.model_validate(asdict(review)) for review in shown],
    )


def shown_to(caller: Caller, given: list[Review]) -> list[Review]:
    """The reviews of an answer that the caller may see now."""
    return visible_to(caller.actor.reviewer, given) if caller.reads_blind else given
