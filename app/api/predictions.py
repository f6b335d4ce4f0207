"""``GET /predictions``: what was answered."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from app import problems
from app.access.caller import Caller
from app.access.dependencies import MayRead
from app.api import errors, fhir
from app.api.filters import NAMES, Wanted
from app.api.query import KnownParameters
from app.diagnosis.past import read
from app.diagnosis.report import Answer
from app.services import Services, services_of

router = APIRouter(prefix="/predictions", tags=["predictions"])

MAX_LIMIT = 200
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image file.",
        "content": {f"image/{name}": _BINARY for name in ("png", "jpeg", "tiff")},
    }
}
_FHIR: dict[int | str, dict[str, Any]] = {200: {"content": {fhir.MEDIA_TYPE: {"schema": {"type": "object"}}}}}


class PredictionPage(BaseModel):
    predictions: list[Answer] = Field(description="Newest first.")
    next: UUID | None = Field(description="The cursor of the next page; null on the last.")


@router.get(
    "", summary="List recorded answers", response_model=PredictionPage, responses=errors.responses(*problems.ALWAYS)
)
async def list_predictions(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("limit", "cursor", *NAMES))],
    services: Annotated[Services, Depends(services_of)],
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """Recorded answers, newest first: all of them for roles read, review and admin, a key's own for role predict,
    and for role pathologist also those of the cases that it asked about.

    Of those, the ones that fit every filter that is given.
    """
    confined = replace(wanted, scope=caller.scope)
    page = await services.io.run(partial(services.predictions.page, limit, confined, str(cursor) if cursor else None))
    following = f'"{page.next}"' if page.next else "null"
    text = f'{{"predictions":[{",".join(page.answers)}],"next":{following}}}'
    return Response(text, media_type="application/json")


@router.get(
    "/{prediction_id}",
    summary="Read one recorded answer",
    response_model=Answer,
    responses=_FHIR | errors.responses(*problems.ALWAYS, problems.UnknownPrediction, problems.NotYetReadable),
)
async def read_prediction(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("format"))],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
    form: Annotated[Literal["json", "fhir"], Query(alias="format", description="`fhir`: a FHIR R4 Bundle.")] = "json",
) -> Response:
    """The JSON that was answered; that of earlier versions in today's shape."""
    find = partial(services.predictions.find, prediction_id, caller.scope)
    text = await services.io.run(find)
    if text is None and await services.io.run(partial(services.writer.backlog.holds, str(prediction_id))):
        raise problems.NotYetReadable("The answer is in the journal and not in the database yet: try again soon.")
    # It may have moved from the journal to the database between the two looks.
    text = text or await services.io.run(find)
    if text is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id} that this key may read.")
    if form == "fhir":
        return Response(json.dumps(fhir.bundle(read(text))), media_type=fhir.MEDIA_TYPE)
    return Response(text, media_type="application/json")


@router.get(
    "/{prediction_id}/patch",
    summary="Read the patch of a prediction",
    response_class=Response,
    responses=_IMAGE | errors.responses(*problems.ALWAYS, problems.UnknownPrediction, problems.NoPatchStored),
)
async def read_patch(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    prediction_id: UUID,
) -> Response:
    """The image file as it was sent, where the server stores patches."""
    return await patch_file(services, caller, prediction_id)


async def patch_file(services: Services, caller: Caller, prediction_id: UUID) -> Response:
    """The image file behind an answer that the caller may read.

    Raises:
        UnknownPrediction: if there is no such answer.
        NoPatchStored: if its patch was not stored.
    """
    patch = await services.io.run(partial(services.predictions.patch, prediction_id, caller.scope))
    if patch is None:
        raise problems.UnknownPrediction(f"There is no prediction {prediction_id} that this key may read.")
    if patch.data is None:
        raise problems.NoPatchStored(
            f"The patch of {prediction_id} was not stored: ROSETTE_STORE_PATCHES was not set when it was classified."
        )
    suffix = patch.format.lower()
    disposition = f'attachment; filename="{prediction_id}.{suffix}"'
    return Response(patch.data, media_type=f"image/{suffix}", headers={"Content-Disposition": disposition})
