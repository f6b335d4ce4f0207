"""``POST /predict``: one patch in, one recorded answer out."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from app import problems, wording
from app.access.caller import Caller
from app.access.dependencies import MayPredict
from app.answering import PredictionRequest
from app.api import errors
from app.api.admission import admit, client_gone
from app.api.body import FIELD, MULTIPART, RAW_TYPES, MppField, PatchReader
from app.api.query import query_parser
from app.diagnosis.report import Answer
from app.diagnosis.scale import IGNORE, LEAST_STATED, MOST_STATED, Mpp, parse_mpp
from app.problems import InvalidParameter
from app.services import Services
from app.settings import Settings
from model_zoo.occlusion import Occlusion
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts

router = APIRouter(tags=["predictions"])

IDEMPOTENCY_KEY, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
FILE_NAME, MAX_FILE_NAME = "X-File-Name", 200

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
    Annotated[float, Field(strict=True, ge=LEAST_STATED, le=MOST_STATED)] | Literal["ignore"] | None,
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
    occlusion: Occlusion = Field(
        Occlusion.NONE,
        description="`report`: the patch is also answered with each of 36 squares of 16 pixels covered by its mean "
        "colour, which the answer's `occlusion` shows. The decision stays the same. `none`: it is not.",
    )
    case_id: str | None = Field(
        None, pattern=wording.IDENTIFIER, description="A pseudonym, for the caller's bookkeeping."
    )
    slide_id: str | None = Field(None, pattern=wording.IDENTIFIER, description="The same.")
    mpp: StatedMpp = Field(
        None,
        description="The patch's microns per pixel, which counts in place of what the file states; or `ignore`: "
        "the scale is not checked. It may be a field of the form instead.",
    )


parameters_of = query_parser(Parameters)

# As the routes that take it describe it.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        pattern=wording.IDEMPOTENCY_KEY,
        description="1 to 128 visible ASCII characters: a repeat within 24 hours gets the first answer.",
    ),
]

FileName = Annotated[
    str | None,
    Header(
        alias=FILE_NAME,
        max_length=9 * MAX_FILE_NAME,
        description="The file's name, percent-encoded UTF-8; recorded only if the server stores names.",
    ),
]


def idempotency_key_of(request: Request) -> str | None:
    """The value of the header ``Idempotency-Key``, if it is there.

    Raises:
        InvalidParameter: if it occurs more than once, or does not fit.
    """
    values = request.headers.getlist(IDEMPOTENCY_KEY)
    if not values:
        return None
    if len(values) > 1:
        raise InvalidParameter(f"The header {IDEMPOTENCY_KEY} occurs {len(values)} times: give it once.")
    if not re.fullmatch(wording.IDEMPOTENCY_KEY, values[0]):
        raise InvalidParameter(f"The header {IDEMPOTENCY_KEY} does not fit: expected {wording.KEY_EXPECTED}.")
    return values[0]


def file_name_of(request: Request) -> str | None:
    """The value of the header ``X-File-Name``, percent-encoded UTF-8, if it is there.

    Raises:
        InvalidParameter: if it occurs more than once, or does not fit.
    """
    values = request.headers.getlist(FILE_NAME)
    if not values:
        return None
    try:
        name = unquote(values[0], errors="strict")
    except UnicodeDecodeError:
        name = ""
    if len(values) > 1 or not 0 < len(name) <= MAX_FILE_NAME or min(name) < " ":
        raise InvalidParameter(
            f"The header {FILE_NAME} is not one name of 1 to {MAX_FILE_NAME} characters in percent-encoded UTF-8, "
            "without control characters: shorten it, or leave it out."
        )
    return name


def prediction_request(
    image: bytes,
    caller: Caller,
    parameters: Parameters,
    idempotency_key: str | None,
    mpp: Mpp,
    file_name: str | None = None,
) -> PredictionRequest:
    """What is asked about one patch."""
    return PredictionRequest(
        image,
        parameters.rotations,
        caller.key_id,
        parameters.case_id,
        parameters.slide_id,
        idempotency_key,
        parameters.shifts,
        mpp,
        parameters.occlusion,
        file_name,
    )


def patch_reader(settings: Settings) -> PatchReader:
    """Of one patch."""
    return PatchReader(settings.max_body_bytes, settings.body_timeout_s, Parameters.model_fields)


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
    _file_name: FileName = None,
) -> Response:
    """Is there metastatic tissue in the centre 32×32 px of a 96×96 patch, and does its orientation change the answer?

    The pixels are taken as stored: EXIF orientation, ICC profiles and gamma are ignored, not applied. A file that
    states another scale than the model's, by more than 10 %, is refused. The answer has been recorded when it arrives.
    With an `Idempotency-Key`, a repeat within 24 hours gets the first answer. Research use only.
    """
    state = request.app.state
    services: Services = state.services
    caller: Caller = request.state.caller
    parameters = parameters_of(request.scope["query_string"])
    idempotency_key, file_name = idempotency_key_of(request), file_name_of(request)
    [image], mpp = await admit(request, services, state.patch_reader, caller, parameters.mpp)
    asked = prediction_request(image, caller, parameters, idempotency_key, mpp, file_name)
    recorded = await services.answering.answer(asked, client_gone(request))
    headers = {REPLAYED: "true"} if recorded.replayed else None
    return Response(recorded.text, headers=headers, media_type="application/json")
