"""``/admin/models``: which models there are, which one serves, and bringing in another."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, JsonValue
from starlette.responses import Response

from app import problems
from app.access.dependencies import MayAdminister
from app.api import errors
from app.api.acceptance import ListedAcceptance
from app.api.body import MULTIPART
from app.api.query import KnownParameters
from app.api.upload import RAW, SIGNATURE_HEADER, ArtifactReader
from app.records.models import Activation, ModelEntry, State, summary
from app.registry.advice import activation_warnings
from app.registry.registry import UploadResult
from app.registry.sandbox import SandboxUnavailable
from app.services import Services, services_of
from model_zoo.basis import Basis

router = APIRouter(prefix="/admin/models", tags=["models"])

_FILE = {"type": "string", "format": "binary", "description": "The .onnx file, at most 64 MiB"}
_SIGNATURE = {"type": "string", "description": "Base64 of the Ed25519 signature"}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": _FILE, "signature": _SIGNATURE},
                }
            },
            RAW: {"schema": _FILE},
        },
    },
    "parameters": [
        {"name": SIGNATURE_HEADER, "in": "header", "required": False, "schema": _SIGNATURE, "description": "Raw bodies"}
    ],
}
NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]


class ListedModel(BaseModel):
    id: str = Field(description="SHA-256 of the artifact.")
    name: str
    version: str
    state: State
    bytes: int
    signed: bool
    origin: Literal["release", "upload"] = Field(description="`release`: it came with the server.")
    uploaded_by: str
    uploaded_at: datetime
    retired_at: datetime | None
    shadow_since: datetime | None


class Models(BaseModel):
    models: list[ListedModel] = Field(description="Newest first.")
    active: str | None


class VettingStep(BaseModel):
    name: str
    passed: bool
    detail: str
    milliseconds: float


class VettingReport(BaseModel):
    passed: bool
    steps: list[VettingStep]


class ShadowDisagreement(BaseModel):
    """How the model, as a shadow, answered the same live patches as the active one."""

    active_id: str
    basis: Basis = Field(description="Of both models' answers.")
    patches: int
    labels_differ: int
    low: float | None = Field(description="95 % Wilson interval of the share of labels that differ.")
    high: float | None
    mean_difference: float | None = Field(description="Of the probabilities, absolute.")
    largest_difference: float | None


class ModelDetail(ListedModel):
    manifest: dict[str, JsonValue] = Field(description="Without the golden cases, which are in the file.")
    report: VettingReport
    shadow: list[ShadowDisagreement] = Field(
        description="One entry for each model that it was compared with, and each basis."
    )
    acceptance: ListedAcceptance | None = Field(description="Its last acceptance test; null without one.")


class Activated(BaseModel):
    number: int
    id: str
    activated_by: str
    activated_at: datetime
    serves_here: bool = Field(description="Whether the server that answers this serves it already.")
    error: str = Field(description="Why it does not; empty if it does.")
    warnings: list[str] = Field(
        [], description="Figures near chance, or worse than the previous model's; no acceptance test on this site."
    )


_HERE_ALREADY: dict[int | str, dict[str, Any]] = {
    200: {"model": ModelDetail, "description": "These bytes were here already"}
}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {200: {"content": {RAW: {"schema": _FILE}}}}


@router.post(
    "",
    status_code=201,
    summary="Upload an artifact",
    response_model=ModelDetail,
    openapi_extra=_UPLOAD,
    responses=_HERE_ALREADY
    | errors.responses(
        *problems.ALWAYS,
        problems.BodyIncomplete,
        problems.BodyTooSlow,
        problems.BodyTooLarge,
        problems.UnsupportedContentType,
        problems.InvalidForm,
        problems.EmptyBody,
        problems.ArtifactRefused,
        problems.VettingUnavailable,
    ),
)
async def upload_model(
    request: Request, response: Response, caller: MayAdminister, _: NoParameters, services: TheServices
) -> ModelDetail:
    """Vet an artifact and store it. It is not activated. The same bytes twice are one model."""
    reader = ArtifactReader(services.settings.home, services.settings.upload_timeout_s)
    reader.check_headers(request)
    if services.vetting.borrowed_tokens:
        raise problems.Busy("Another artifact is being vetted: try again when it is done.")
    async with services.vetting, reader.receive(request) as upload:
        admit = partial(services.registry.admit, upload, caller.actor)
        try:
            admission: UploadResult = await to_thread.run_sync(admit, limiter=CapacityLimiter(1))
        except SandboxUnavailable as error:
            raise problems.VettingUnavailable(
                f"Artifacts cannot be vetted on this server, so none is accepted: {error}."
            ) from error
    response.status_code = 201 if admission.new else 200
    response.headers["Location"] = f"{router.prefix}/{admission.entry.id}"
    return await services.io.run(partial(detail, services, admission.entry))


@router.get("", summary="List the models", responses=errors.responses(*problems.ALWAYS))
async def list_models(caller: MayAdminister, _: NoParameters, services: TheServices) -> Models:
    """Every model, and which one is active."""
    entries, active = await services.io.run(services.registry.listing)
    return Models(
        models=[ListedModel(**summary(entry, active)) for entry in entries], active=active.model_id if active else None
    )


@router.post(
    "/rollback",
    summary="Go back to the model before",
    responses=errors.responses(*problems.ALWAYS, problems.NothingToRollBackTo, problems.ModelUnusable),
)
async def roll_back(caller: MayAdminister, _: NoParameters, services: TheServices) -> Activated:
    """Activate the model that served before the active one."""
    activation = await services.io.run(partial(services.serving.roll_back, caller.actor))
    return await followed(services, activation)


@router.get(
    "/{model_id}", summary="Look at a model", responses=errors.responses(*problems.ALWAYS, problems.UnknownModel)
)
async def read_model(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> ModelDetail:
    """What it says of itself, how it was vetted, and how it disagreed with other models as a shadow."""
    return await services.io.run(lambda: detail(services, services.registry.find(model_id)))


@router.get(
    "/{model_id}/file",
    summary="Download an artifact",
    response_class=Response,
    responses=_DOWNLOAD | errors.responses(*problems.ALWAYS, problems.UnknownModel),
)
async def read_file(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> Response:
    """The artifact's bytes."""
    entry = await services.io.run(partial(services.registry.find, model_id))
    data = await services.io.run(partial(services.registry.data_of, entry))
    name = f"{entry.name}-{entry.version}.int8.onnx"
    return Response(data, media_type=RAW, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.post(
    "/{model_id}/activate",
    summary="Put a model into service",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownModel, problems.ModelInUse, problems.ModelUnusable),
)
async def activate_model(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> Activated:
    """It is proved here first. Every server of this database serves it within two seconds.

    Requests in flight finish with the model before.
    """
    warnings = await services.io.run(partial(warnings_about, services, model_id))
    activation = await services.io.run(partial(services.serving.activate, model_id, caller.actor))
    return (await followed(services, activation)).model_copy(update={"warnings": warnings})


@router.post(
    "/{model_id}/retire",
    summary="Take a model out of choice",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownModel, problems.ModelInUse),
)
async def retire_model(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> ModelDetail:
    """Its bytes stay, since predictions name it; uploading them again brings it back."""
    entry = await services.io.run(partial(services.registry.retire, model_id, caller.actor))
    return await services.io.run(partial(detail, services, entry))


@router.post(
    "/{model_id}/shadow",
    summary="Let a model score beside the active one",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownModel, problems.ModelInUse, problems.ModelUnusable),
)
async def start_shadow(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> ModelDetail:
    """It is proved here first. It scores live patches without answering, as far as there is time.

    At most one model does.
    """
    await services.io.run(partial(services.serving.start_shadow, model_id, caller.actor))
    return await services.io.run(lambda: detail(services, services.registry.find(model_id)))


@router.delete("/shadow", status_code=204, summary="Stop the shadow", responses=errors.responses(*problems.ALWAYS))
async def stop_shadow(caller: MayAdminister, _: NoParameters, services: TheServices) -> None:
    """Its scores stay."""
    await services.io.run(partial(services.serving.stop_shadow, caller.actor))


def warnings_about(services: Services, model_id: str) -> list[str]:
    """What to know before this model is activated."""
    return activation_warnings(services.registry, services.acceptances, services.registry.find(model_id))


async def followed(services: Services, activation: Activation) -> Activated:
    """Load here what was activated, and say whether it serves."""
    state = await services.io.run(services.serving.follow)
    serves = state.model is not None and state.model.sha256 == activation.model_id
    return Activated(
        number=activation.number,
        id=activation.model_id,
        activated_by=activation.activated_by,
        activated_at=activation.activated_at,
        serves_here=serves,
        error="" if serves else state.error,
    )


def detail(services: Services, entry: ModelEntry) -> ModelDetail:
    """What a model says of itself, how it was vetted, and how it disagreed with others."""
    _, active = services.registry.listing()
    disagreements = services.shadow_scores.disagreements(entry.id)
    accepted = services.acceptances.last(entry.id)
    return ModelDetail(
        **summary(entry, active),
        manifest=json.loads(entry.manifest),
        report=VettingReport.model_validate_json(entry.report),
        shadow=[ShadowDisagreement(**asdict(found)) for found in disagreements],
        acceptance=ListedAcceptance.of(accepted) if accepted else None,
    )
