"""``POST /v2/models/{name}/infer``: patches as a tensor, answered and recorded like those of a batch."""

from __future__ import annotations

from math import nan
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from msgspec import Struct
from starlette.responses import Response

from app import problems
from app.access.dependencies import MayPredict
from app.api import errors
from app.api.admission import admit, client_gone
from app.api.batch import idempotency_keys
from app.api.predict import OF_BODIES, REPLAYED, IdempotencyKey, prediction_request
from app.api.query import KnownParameters
from app.api.v2 import schemas
from app.api.v2.catalogue import serving_model
from app.api.v2.reader import InferenceReader
from app.api.v2.tensors import HEAD_LENGTH, encode
from app.problems import Problem
from app.records.entry import Recorded
from app.services import Services, services_of

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_NO_PARAMETERS = Depends(KnownParameters())
_PROBLEMS = errors.responses(
    *problems.ALWAYS,
    *OF_BODIES,
    problems.UnknownModel,
    problems.ModelNotServing,
    problems.InvalidInference,
    problems.IdempotencyMismatch,
    problems.WrongMode,
    problems.WrongScale,
)
_INFER: dict[str, Any] = {
    "summary": "Classify patches",
    "response_model": schemas.InferenceResponse,
    "openapi_extra": schemas.REQUEST,
    "responses": schemas.BINARY | _PROBLEMS,
    "dependencies": [_NO_PARAMETERS],
}


class _Model(Struct):
    name: str
    version: str


class _Answer(Struct):
    id: str
    model: _Model
    logits: tuple[float, float]
    probability: float | None
    decision: str


_decoder = msgspec.json.Decoder(_Answer)


@router.post("/models/{name}/infer", **_INFER)
async def infer(
    request: Request,
    caller: MayPredict,
    services: Annotated[Services, Depends(services_of)],
    name: str,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """Up to 256 patches as UINT8 [N, 96, 96, 3], as a binary tensor; up to 8 in JSON.

    `parameters` are those of `POST /predict`. Every patch is recorded by itself, with `patch.format` `RAW`. A problem
    of one patch is the problem of the request; with an `Idempotency-Key`, a repeat answers only what has no answer yet.
    """
    return await _answer(request, services, caller, name, None)


@router.post("/models/{name}/versions/{version}/infer", **_INFER)
async def infer_version(
    request: Request,
    caller: MayPredict,
    services: Annotated[Services, Depends(services_of)],
    name: str,
    version: str,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """The same, if this version of the model serves."""
    return await _answer(request, services, caller, name, version)


async def _answer(request: Request, services: Services, caller: MayPredict, name: str, version: str | None) -> Response:
    state = request.app.state
    model = await serving_model(services, name, version)
    reader = InferenceReader(services.settings, services.io)
    try:
        patches, mpp = await admit(request, services, reader, caller, None, state.batches)
        keys = idempotency_keys(request, range(len(patches)))
        asked = [
            prediction_request(patch, caller, reader.parameters, key, mpp)
            for patch, key in zip(patches, keys, strict=True)
        ]
        answers = await services.answering.answer_all(asked, client_gone(request), model)
    finally:
        state.batches.give_back(request)
    return _response(reader, _recorded(answers))


def _recorded(answers: list[Recorded | Problem]) -> list[Recorded]:
    """The answers.

    Raises:
        Problem: the first there is, with the patch's index.
    """
    for index, answer in enumerate(answers):
        if isinstance(answer, Problem):
            answer.detail = f"Patch {index}: {answer.detail}"
            answer.extensions["index"] = index
            raise answer
    return [answer for answer in answers if isinstance(answer, Recorded)]


def _response(reader: InferenceReader, recorded: list[Recorded]) -> Response:
    answers = [_decoder.decode(each.text) for each in recorded]
    head: dict[str, Any] = {"model_name": answers[0].model.name, "model_version": answers[0].model.version}
    if reader.asked.id is not None:
        head["id"] = reader.asked.id
    values: dict[str, list[Any]] = {
        "logits": [answer.logits for answer in answers],
        "probability": [nan if answer.probability is None else answer.probability for answer in answers],
        "decision": [answer.decision for answer in answers],
        "prediction_id": [answer.id for answer in answers],
    }
    body, length = encode(head, values, reader.asked.outputs)
    headers = {} if length is None else {HEAD_LENGTH: str(length)}
    if all(each.replayed for each in recorded):
        headers[REPLAYED] = "true"
    media_type = "application/json" if length is None else "application/octet-stream"
    return Response(body, headers=headers, media_type=media_type)
