"""``POST /predict``: one patch in, one recorded answer out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from app import problems
from app.access.caller import Caller, Role
from app.access.dependencies import MayPredict, RequireRole
from app.answering import Asked
from app.api import errors
from app.api.body import FIELD, MULTIPART, RAW_TYPES, BodyReader, MppField
from app.api.filters import IDENTIFIER
from app.api.idempotency import REPLAYED, IdempotencyKey, idempotency_key_of
from app.api.thin import client_gone, query
from app.diagnosis.report import Answer
from app.diagnosis.scale import IGNORE, LEAST_STATED, MOST_STATED, Mpp, parse_mpp
from app.services import Services, services_of
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts

router = APIRouter(tags=["predictions"])

IMAGE = {"type": "string", "format": "binary", "description": "PNG, JPEG or TIFF, 96×96 pixels, 8-bit RGB"}
MPP = {
    "anyOf": [{"type": "number", "minimum": LEAST_STATED, "maximum": MOST_STATED}, {"const": IGNORE}],
    "description": "The patch's microns per pixel, or `ignore`.",
}
_PROPERTIES = {FIELD: IMAGE, MppField.name: MPP}
_FORM = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": _PROPERTIES}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The patch, as the form's field `file` or as the raw body.",
        "content": {MULTIPART: {"schema": _FORM}} | {media_type: {"schema": IMAGE} for media_type in RAW_TYPES},
    }
}
# What a patch, or a request with patches, may be refused with beside problems.ALWAYS.
OF_BODIES = (
    problems.BodyIncomplete,
    problems.BodyTooSlow,
    problems.BodyTooLarge,
    problems.UnsupportedContentType,
    problems.InvalidForm,
    problems.EmptyBody,
    problems.RateExceeded,
    problems.ClientGone,
    problems.NoModel,
)
OF_PATCHES = (
    problems.IdempotencyMismatch,
    problems.NotAnImage,
    problems.TruncatedImage,
    problems.ImageTooLarge,
    problems.WrongSize,
    problems.WrongMode,
    problems.Animation,
    problems.UnsupportedTiff,
    problems.UnsupportedJpeg,
    problems.WrongScale,
)


StatedMpp = Annotated[
    Annotated[float, Field(ge=LEAST_STATED, le=MOST_STATED)] | Literal["ignore"] | None,
    BeforeValidator(lambda value: parse_mpp(value) if isinstance(value, str) else value),
]


class Parameters(BaseModel):
    """What is asked about a patch."""

    rotations: Rotations = Field(
        Rotations.FULL,
        description="Which turns of the patch are measured. `full`: one for each coset of the exact subgroup, "
        "and the exact subgroup; the rest is implied by the exactness measured. `exact`: the exact subgroup. "
        "`none`: the patch as given. `all`: every element.",
    )
    shifts: Shifts = Field(
        Shifts.NONE,
        description="`report`: the patch is also answered at eight offsets of 4 pixels around it, which the answer's "
        "`shifts` shows. The decision stays the same. `none`: it is not.",
    )
    case_id: str | None = Field(None, pattern=IDENTIFIER, description="A pseudonym, for the caller's bookkeeping.")
    slide_id: str | None = Field(None, pattern=IDENTIFIER, description="The same.")
    mpp: StatedMpp = Field(
        None,
        description="The patch's microns per pixel, which counts in place of what the file states; or `ignore`: "
        "the scale is not checked. It may be a field of the form instead.",
    )


may_predict = RequireRole(Role.PREDICT)


async def receive_patch(request: Request, services: Services, caller: Caller, mpp: Mpp) -> tuple[bytes, Mpp]:
    """A patch's bytes, and what the query or the form says of its scale.

    A server that is busy and a key's rate that is used up are found out before the body is read.

    Raises:
        NoModel, Busy, RateExceeded: as their names say.
        Problem: as ``BodyReader`` does.
    """
    services.answering.check_ready()
    body = BodyReader(services.settings.max_body_bytes, services.settings.body_timeout_s, Parameters.model_fields)
    body.check_headers(request)
    services.key_rates.check(caller.key_id)
    image, stated = await body.read_image(request)
    services.key_rates.count(caller.key_id)
    return image, either(mpp, stated)


def either(query: Mpp, form: Mpp) -> Mpp:
    """What the query or the form says of the scale.

    Raises:
        InvalidForm: if both do.
    """
    if query is not None and form is not None:
        raise problems.InvalidForm("mpp stands in the query and in the form: give it once.")
    return form if query is None else query


@router.post(
    "/predict",
    summary="Classify a patch",
    response_model=Answer,
    openapi_extra=_BODY,
    responses=errors.responses(*problems.ALWAYS, *OF_BODIES, *OF_PATCHES),
)
async def predict(
    request: Request,
    _caller: MayPredict = None,  # type: ignore[assignment]
    _parameters: Annotated[Parameters, Query()] = None,  # type: ignore[assignment]
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """Is there metastatic tissue in the centre 32×32 px of a 96×96 patch, and does its orientation change the answer?

    The pixels are taken as stored: EXIF orientation, ICC profiles and gamma are ignored, not applied. A file that
    states another scale than the model's, by more than 10 %, is refused. The answer has been recorded when it arrives.
    With an `Idempotency-Key`, a repeat within 24 hours gets the first answer. Research use only.
    """
    services = services_of(request)
    caller = await may_predict(request)
    parameters = query(request, Parameters)
    idempotency_key = idempotency_key_of(request)
    image, mpp = await receive_patch(request, services, caller, parameters.mpp)
    asked = Asked(
        image,
        parameters.rotations,
        caller.key_id,
        parameters.case_id,
        parameters.slide_id,
        idempotency_key,
        parameters.shifts,
        mpp=mpp,
    )
    recorded = await services.answering.answer(asked, client_gone(request))
    headers = {REPLAYED: "true"} if recorded.replayed else None
    return Response(recorded.text, headers=headers, media_type="application/json")
