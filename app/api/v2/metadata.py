"""The protocol's other routes: health, the server, its models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app import problems
from app.access.dependencies import MayPredict
from app.api import errors
from app.api.health import Readiness, readiness_of
from app.api.query import KnownParameters
from app.api.v2.catalogue import serves, versions_of
from app.api.v2.schemas import ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady, TensorMetadata
from app.api.v2.tensors import INPUT, OUTPUTS, SHAPE
from app.services import Services, services_of
from app.version import version as own_version

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], dependencies=[Depends(KnownParameters())])

TheServices = Annotated[Services, Depends(services_of)]

LIVE, READY = "/v2/health/live", "/v2/health/ready"
OPEN_PATHS = (LIVE, READY)
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnxruntime_onnx"

_OPEN = errors.responses(problems.InvalidParameter, problems.Busy)
_MODEL = errors.responses(*problems.ALWAYS, problems.UnknownModel)
_READY = _MODEL | {409: {"model": ModelReady, "description": "The model does not serve"}}


@router.get("/health/live", summary="Is the process alive?", responses=_OPEN)
async def live() -> ServerLive:
    """Answers as long as the event loop runs."""
    return ServerLive()


@router.get(
    "/health/ready",
    summary="Can patches be answered?",
    responses=_OPEN | {503: {**_OPEN[503], "model": ServerReady}},
)
async def ready(response: Response, readiness: Annotated[Readiness, Depends(readiness_of)]) -> ServerReady:
    """As `GET /readyz`, which says why not."""
    failed = await readiness.failed()
    if failed:
        response.status_code = 503
    return ServerReady(ready=not failed)


@router.get("", summary="Name, version and extensions", responses=errors.responses(*problems.ALWAYS))
async def read_server(_: MayPredict) -> ServerMetadata:
    """What this server is."""
    return ServerMetadata(name="rosette", version=own_version(), extensions=EXTENSIONS)


@router.get("/models/{name}", summary="Inputs and outputs of a model", responses=_MODEL)
async def read_served_model(_: MayPredict, services: TheServices, name: str) -> ModelMetadata:
    """Its versions, newest first, and its tensors, which all models share."""
    return await _metadata(services, name, None)


@router.get("/models/{name}/versions/{version}", summary="The same of a version", responses=_MODEL)
async def read_served_version(_: MayPredict, services: TheServices, name: str, version: str) -> ModelMetadata:
    """The same, if there is this version."""
    return await _metadata(services, name, version)


@router.get("/models/{name}/ready", summary="Does a model serve?", response_model=ModelReady, responses=_READY)
async def model_ready(_: MayPredict, services: TheServices, response: Response, name: str) -> ModelReady:
    """409 with `ready` false if another one does."""
    return await _ready(services, response, name, None)


@router.get(
    "/models/{name}/versions/{version}/ready",
    summary="Does a version serve?",
    response_model=ModelReady,
    responses=_READY,
)
async def version_ready(
    _: MayPredict, services: TheServices, response: Response, name: str, version: str
) -> ModelReady:
    """409 with `ready` false if another one does."""
    return await _ready(services, response, name, version)


async def _metadata(services: Services, name: str, version: str | None) -> ModelMetadata:
    versions = await versions_of(services, name, version)
    outputs = [
        TensorMetadata(name=output, datatype=datatype, shape=[-1, *shape])
        for output, (datatype, shape) in OUTPUTS.items()
    ]
    patches = TensorMetadata(name=INPUT, datatype="UINT8", shape=[-1, *SHAPE])
    shown = versions if version is None else [version]
    return ModelMetadata(name=name, versions=shown, platform=PLATFORM, inputs=[patches], outputs=outputs)


async def _ready(services: Services, response: Response, name: str, version: str | None) -> ModelReady:
    found = serves(services.serving.state.model, name, version)
    if not found:
        await versions_of(services, name, version)
        response.status_code = 409
    return ModelReady(name=name, ready=found)
