"""``GET /predictions``: what was answered, word for word."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from app import problems
from app.access.caller import Caller, Role
from app.access.dependencies import MayRead
from app.api.filters import NAMES, Wanted
from app.api.query import KnownParameters
from app.diagnosis.report import Answer
from app.records.predictions import Page
from app.services import Services, services_of

router = APIRouter(prefix="/predictions", tags=["predictions"])

MAX_LIMIT = 200


class PredictionPage(BaseModel):
    predictions: list[Answer] = Field(description="Newest first.")
    next: UUID | None = Field(description="The cursor of the next page; null on the last.")


@router.get(
    "", summary="List recorded answers", response_model=PredictionPage, responses=problems.responses(*problems.ALWAYS)
)
async def list_predictions(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("limit", "cursor", *NAMES))],
    services: Annotated[Services, Depends(services_of)],
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """Recorded answers, newest first: all of them for roles read, review and admin, a key's own for role predict.

    Of those, the ones that fit every filter that is given.
    """
    own = own_key(caller)
    if own and wanted.key not in (None, own):
        page = Page([], None)
    else:
        confined = replace(wanted, key=own or wanted.key)
        page = await services.workers.run(
            partial(services.predictions.page, limit, confined, str(cursor) if cursor else None)
        )
    following = f'"{page.next}"' if page.next else "null"
    text = f'{{"predictions":[{",".join(page.answers)}],"next":{following}}}'
    return Response(text, media_type="application/json")


@router.get(
    "/{prediction_id}",
    summary="Read one recorded answer",
    response_model=Answer,
    responses=problems.responses(*problems.ALWAYS, problems.UnknownPrediction),
)
async def read_prediction(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
) -> Response:
    """The very JSON that was answered."""
    text = await services.workers.run(partial(services.predictions.find, prediction_id, own_key(caller)))
    if text is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id} that this key may see.")
    return Response(text, media_type="application/json")


def own_key(caller: Caller) -> str | None:
    """Confine a key of role predict to its own answers."""
    return caller.key_id if caller.role is Role.PREDICT else None
