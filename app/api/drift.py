"""``GET /drift``: whether recent answers look like those that calibrated the model."""

from __future__ import annotations

from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app import problems
from app.access.caller import Role
from app.access.dependencies import RequireRole
from app.api import errors
from app.api.query import KnownParameters
from app.services import Services, services_of
from model_zoo.basis import Basis

router = APIRouter(
    prefix="/drift",
    tags=["drift"],
    dependencies=[Depends(RequireRole(Role.READ, Role.REVIEW, Role.METRICS))],
    responses=errors.responses(*problems.ALWAYS),
)


class _Part(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Figure(_Part):
    figure: Literal["probability", "max_deviation", "stain_distance"]
    predictions: int = Field(
        description="That have it: `probability` if assessable, `max_deviation` if every element is known as well, "
        "`stain_distance` with tissue."
    )
    reference: int | None = Field(description="Patches behind the reference; null without one.")
    psi: float | None = Field(
        description="Population stability index over the reference's bins, half a count added to each."
    )
    expected: float | None = Field(description="The index that these numbers give on average if nothing has moved.")
    shares: list[float] | None = Field(description="Of the predictions, one for each bin, lowest first.")
    verdict: Literal["stable", "moderate", "shifted", "too_few", "no_reference"]
    meaning: str = Field(description="The verdict in words.")


class Window(_Part):
    window: Literal["day", "week"]
    since: AwareDatetime
    predictions: int
    not_assessable: int = Field(description="Of them; they count for the stain alone.")
    figures: list[Figure]


class ModelWindows(_Part):
    name: str
    version: str
    sha256: str
    basis: Basis = Field(description="Of these answers; each basis is compared with its own reference.")
    windows: list[Window]


class DriftAnswer(_Part):
    at: AwareDatetime = Field(description="When it was counted, at most a minute ago.")
    models: list[ModelWindows] = Field(
        description="Those that answered within the last week, newest first, once for each basis."
    )


@router.get("", summary="Compare recent answers with the reference")
async def read_drift(
    _: Annotated[None, Depends(KnownParameters())], services: Annotated[Services, Depends(services_of)]
) -> DriftAnswer:
    """Per model, how the answers of the last day and week are distributed against the reference in its manifest."""
    report = await to_thread.run_sync(services.drift.latest, limiter=services.counting)
    return DriftAnswer.model_validate(report)
