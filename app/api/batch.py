"""``POST /predict/batch``: many patches in one request; what is wrong with one does not spoil the rest."""

from __future__ import annotations

import json
from typing import Annotated, Any

from anyio import WouldBlock
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app import problems
from app.access.dependencies import MayPredict
from app.answering import PredictionRequest
from app.api import errors
from app.api.body import FIELD, MULTIPART, BoundedReader, MppField, content_type
from app.api.form import Form
from app.api.idempotency import IdempotencyKey, idempotency_key_of
from app.api.predict import IMAGE, MPP, OF_BODIES, Parameters, either, may_predict
from app.api.thin import client_gone, query
from app.diagnosis.report import Answer
from app.diagnosis.scale import Mpp
from app.problems import BodyTooLarge, Busy, EmptyBody, InvalidForm, InvalidParameter, Problem, ProblemBody
from app.records.entry import Recorded
from app.services import services_of

router = APIRouter(tags=["predictions"])

MOST = 256
KEY_LENGTH = 120

_IMAGES = {"type": "array", "items": IMAGE, "minItems": 1, "maxItems": MOST}
_PROPERTIES = {FIELD: _IMAGES, MppField.name: MPP}
_FORM = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": _PROPERTIES}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"1 to {MOST} patches, each in a field `file` of its own.",
        "content": {MULTIPART: {"schema": _FORM}},
    }
}


class RefusedPatch(ProblemBody):
    index: int = Field(description="Which patch of the request it was, from 0.")


class Answers(BaseModel):
    """One result for each patch, in the order of the request."""

    results: list[Answer | RefusedPatch]


@router.post(
    "/predict/batch",
    summary="Classify many patches",
    response_model=Answers,
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
    recorded. With an `Idempotency-Key` of at most 120 characters, a repeat within 24 hours gets the first answers.
    """
    services = services_of(request)
    settings = services.settings
    caller = await may_predict(request)
    parameters = query(request, Parameters)
    idempotency_key = idempotency_key_of(request)
    if idempotency_key and len(idempotency_key) > KEY_LENGTH:
        raise InvalidParameter(f"The Idempotency-Key of a batch has more than {KEY_LENGTH} characters.")
    body = BoundedReader(settings.max_batch_bytes, settings.body_timeout_s, (MULTIPART,), "send fewer patches")
    body.check_headers(request)
    services.key_rates.check(caller.key_id)
    services.answering.check_ready()
    try:
        services.batches.acquire_on_behalf_of_nowait(request)
    except WouldBlock:
        raise Busy("Too many batches are in flight: try again in a second.") from None
    try:
        images, stated = await _images(request, body)
        mpp = either(parameters.mpp, stated)
        services.key_rates.count(caller.key_id, len(images))
        results: list[Recorded | Problem | None] = [_unfit(image, settings.max_body_bytes) for image in images]
        fit = [index for index, result in enumerate(results) if result is None]
        asked = [
            PredictionRequest(
                images[index],
                parameters.rotations,
                caller.key_id,
                parameters.case_id,
                parameters.slide_id,
                f"{idempotency_key} {index}" if idempotency_key else None,
                parameters.shifts,
                mpp=mpp,
            )
            for index in fit
        ]
        answers = await services.answering.answer_all(asked, client_gone(request))
    finally:
        services.batches.release_on_behalf_of(request)
    for index, answer in zip(fit, answers, strict=True):
        results[index] = answer
    parts = ",".join(_json(index, result) for index, result in enumerate(results) if result is not None)
    return Response(f'{{"results":[{parts}]}}', media_type="application/json")


async def _images(request: Request, body: BoundedReader) -> tuple[list[bytes], Mpp]:
    """The contents of a multipart form's fields ``file`` and ``mpp``, parsed as they arrive.

    Raises:
        InvalidForm: if the form is malformed or truncated, has other fields, or more than 256.
        EmptyBody: if there is no body at all.
        BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
    """
    images: list[bytearray] = []
    stated = MppField()

    def begin() -> None:
        if len(images) == MOST:
            raise InvalidForm(f"The form has more than {MOST} patches: send several requests.")
        images.append(bytearray())

    boundary = content_type(request)[1].get(b"boundary", b"")
    sinks = {FIELD: lambda chunk: images[-1].extend(chunk), stated.name: stated.take}
    form = Form(boundary, sinks, {FIELD: begin}, Parameters.model_fields)
    arrived = False

    async def take(chunk: bytes) -> None:
        nonlocal arrived
        arrived = arrived or bool(chunk)
        form.feed(chunk)

    await body.pour(request, take)
    if not arrived:
        raise EmptyBody("The multipart body is empty: send the patches in fields named file.")
    form.finish(FIELD)
    return [bytes(image) for image in images], stated.of(form)


def _unfit(image: bytes, max_bytes: int) -> Problem | None:
    if not image:
        return EmptyBody("The image is empty: send a PNG, JPEG or TIFF file.")
    if len(image) > max_bytes:
        return BodyTooLarge(f"The image has {len(image)} bytes, expected at most {max_bytes}: send a patch.")
    return None


def _json(index: int, result: Recorded | Problem) -> str:
    return result.text if isinstance(result, Recorded) else json.dumps(result.body() | {"index": index})
