"""``POST /predict``: one patch in, one recorded answer out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app import problems
from app.access.dependencies import MayPredict
from app.api.body import FIELD, MULTIPART, RAW_TYPES, BodyReader
from app.api.filters import IDENTIFIER
from app.api.idempotency import REPLAYED, IdempotencyKey
from app.api.query import KnownParameters
from app.diagnosis.orbit import Rotations
from app.diagnosis.report import Answer
from app.records.idempotency import Repeatable, fingerprint
from app.records.predictions import Recorded
from app.services import Services, services_of

router = APIRouter(tags=["predictions"])

_IMAGE = {"type": "string", "format": "binary", "description": "PNG, JPEG or baseline TIFF, 96×96 pixels, 8-bit RGB"}
_FORM = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": {FIELD: _IMAGE}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The patch, as the form's only field `file` or as the raw body.",
        "content": {MULTIPART: {"schema": _FORM}} | {media_type: {"schema": _IMAGE} for media_type in RAW_TYPES},
    }
}


@router.post(
    "/predict",
    summary="Classify a patch",
    response_model=Answer,
    openapi_extra=_BODY,
    responses=problems.responses(
        *problems.ALWAYS,
        problems.BodyIncomplete,
        problems.BodyTooSlow,
        problems.BodyTooLarge,
        problems.UnsupportedContentType,
        problems.InvalidForm,
        problems.EmptyBody,
        problems.IdempotencyMismatch,
        problems.NotAnImage,
        problems.TruncatedImage,
        problems.ImageTooLarge,
        problems.WrongSize,
        problems.WrongMode,
        problems.Animation,
        problems.UnsupportedTiff,
        problems.NoModel,
    ),
)
async def predict(
    request: Request,
    caller: MayPredict,
    _: Annotated[None, Depends(KnownParameters("rotations", "case_id", "slide_id"))],
    services: Annotated[Services, Depends(services_of)],
    idempotency_key: IdempotencyKey,
    rotations: Annotated[
        Rotations,
        Query(
            description="Which turns of the patch are measured. `full`: one for each coset of the exact subgroup, "
            "and the exact subgroup; the rest is implied by the exactness measured. `exact`: the exact subgroup. "
            "`none`: the patch as given. `all`: every element."
        ),
    ] = Rotations.FULL,
    case_id: Annotated[
        str | None, Query(pattern=IDENTIFIER, description="A pseudonym, for the caller's bookkeeping.")
    ] = None,
    slide_id: Annotated[str | None, Query(pattern=IDENTIFIER, description="The same.")] = None,
) -> Response:
    """Is there metastatic tissue in the centre 32×32 pixels of a 96×96 patch, and does the answer depend on how it lay?

    The pixels are taken as stored: EXIF orientation, ICC profiles and gamma are ignored, not applied. The answer has
    been recorded when it arrives. With an `Idempotency-Key`, a repeat within 24 hours gets the first answer. Research
    use only.
    """
    body = BodyReader(services.settings.max_body_bytes, services.settings.body_timeout_s)
    body.check_headers(request)
    engine = services.engine
    services.workers.refuse_when_full()
    data = await body.read(request)

    def answer_and_record() -> Recorded:
        repeatable = None
        if idempotency_key is not None:
            repeatable = Repeatable(caller.key_id, idempotency_key, fingerprint(data, rotations, case_id, slide_id))
            if first := services.predictions.first_answer(repeatable):
                return first
        answer = engine.answer(data, rotations, services.settings.prevalence)
        answer = answer.model_copy(update={"case_id": case_id, "slide_id": slide_id})
        patch = data if services.settings.store_patches else None
        recorded = services.predictions.record(answer, rotations, caller.key_id, repeatable, patch)
        if not recorded.replayed:
            services.shadow.offer(data, answer)
        return recorded

    recorded = await services.workers.run(answer_and_record)
    headers = {REPLAYED: "true"} if recorded.replayed else None
    return Response(recorded.text, headers=headers, media_type="application/json")
