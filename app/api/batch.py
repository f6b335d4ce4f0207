"""``POST /predict/batch``: many patches in one request; what is wrong with one does not spoil the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import problems
from app.access.caller import Caller
from app.access.dependencies import MayPredict
from app.api import errors
from app.api.admission import admit, client_gone
from app.api.body import FIELD, MULTIPART, BatchReader, MppField
from app.api.predict import (
    IMAGE,
    MPP,
    OF_BODIES,
    IdempotencyKey,
    Parameters,
    idempotency_key_of,
    parameters_of,
    prediction_request,
)
from app.diagnosis.report import Answer
from app.problems import BodyTooLarge, EmptyBody, Problem, ProblemBody
from app.records.entry import Recorded
from app.services import Services
from app.settings import Settings

router = APIRouter(tags=["predictions"])

MAX_BATCH_PATCHES = 256
# Longer keys are remembered by their hash, so that a patch's index fits beside them into the table's column.
_PLAIN_KEY = 120

_IMAGES = {"type": "array", "items": IMAGE, "minItems": 1, "maxItems": MAX_BATCH_PATCHES}
_PROPERTIES = {FIELD: _IMAGES, MppField.name: MPP}
_FORM = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": _PROPERTIES}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"1 to {MAX_BATCH_PATCHES} patches, each in a field `file` of its own.",
        "content": {MULTIPART: {"schema": _FORM}},
    }
}


class RefusedPatch(ProblemBody):
    model_config = ConfigDict(title="RefusedPatch")

    index: int = Field(description="Which patch of the request it was, from 0.")


class BatchAnswer(BaseModel):
    """One result for each patch, in the order of the request."""

    results: list[Answer | RefusedPatch]


@router.post(
    "/predict/batch",
    summary="Classify many patches",
    response_model=BatchAnswer,
    openapi_extra=_BODY,
    responses=errors.responses(*problems.ALWAYS, *OF_BODIES),
)
async def predict_batch(
    request: Request,
    _caller: MayPredict = None,  # type: ignore[assignment]
    _parameters: Annotated[Parameters, Query()] = None,  # type: ignore[assignment]
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """Up to 256 patches, each answered as by `POST /predict`, with the same parameters for all, `mpp` too.

    A patch that is refused gets its problem in the place of its answer, with its `index`; the others are answered and
    recorded. With an `Idempotency-Key`, a repeat within 24 hours gets the first answers.
    """
    state = request.app.state
    services: Services = state.services
    caller: Caller = request.state.caller
    parameters = parameters_of(request.scope["query_string"])
    idempotency_keys(request, ())
    try:
        images, mpp = await admit(request, services, state.batch_reader, caller, parameters.mpp, state.batches)
        results: list[Recorded | Problem | None] = [_unfit(image, services.settings.max_body_bytes) for image in images]
        fit = [index for index, result in enumerate(results) if result is None]
        keys = idempotency_keys(request, fit)
        asked = [
            prediction_request(images[index], caller, parameters, key, mpp)
            for index, key in zip(fit, keys, strict=True)
        ]
        answers = await services.answering.answer_all(asked, client_gone(request))
    finally:
        state.batches.give_back(request)
    for index, answer in zip(fit, answers, strict=True):
        results[index] = answer
    parts = ",".join(_json(index, result) for index, result in enumerate(results) if result is not None)
    return Response(f'{{"results":[{parts}]}}', media_type="application/json")


def idempotency_keys(request: Request, indices: Iterable[int]) -> list[str | None]:
    """A key for each of these patches, if the request has one.

    Raises:
        InvalidParameter: if it does not fit.
    """
    key = idempotency_key_of(request)
    if key and len(key) > _PLAIN_KEY:
        key = sha256(key.encode()).hexdigest()
    return [f"{key} {index}" if key else None for index in indices]


def batch_reader(settings: Settings) -> BatchReader:
    """Of many patches."""
    return BatchReader(settings.max_batch_bytes, settings.body_timeout_s, MAX_BATCH_PATCHES, Parameters.model_fields)


def _unfit(image: bytes, max_bytes: int) -> Problem | None:
    if not image:
        return EmptyBody("The image is empty: send a PNG, JPEG or TIFF file.")
    if len(image) > max_bytes:
        return BodyTooLarge(f"The image has {len(image)} bytes, expected at most {max_bytes}: send a patch.")
    return None


def _json(index: int, result: Recorded | Problem) -> str:
    return result.text if isinstance(result, Recorded) else json.dumps(result.body() | {"index": index})
