"""``/runs/{run_id}/reviews``: people's verdicts on a run's regions, beside the machine's."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from app import problems
from app.access.dependencies import MayReview
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.api.reviews import MAX_NOTE, NewReview
from app.records.verdicts import Verdict
from app.services import Services, services_of

router = APIRouter(prefix="/runs/{run_id}", tags=["slides"])


class StoredRegionReview(BaseModel):
    id: UUID
    run_id: UUID
    region: int = Field(description="Number of the region in `regions.geojson`, from 1.")
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str = Field(max_length=MAX_NOTE)


class RegionReviewList(BaseModel):
    reviews: list[StoredRegionReview] = Field(description="Oldest first.")


@router.post(
    "/regions/{region}/reviews",
    status_code=201,
    summary="Judge a region",
    openapi_extra=described(NewReview),
    responses=errors.responses(
        *problems.ALWAYS,
        problems.UnknownRun,
        problems.UnknownPart,
        problems.RunState,
        *OF_JSON,
    ),
)
async def add_region_review(
    request: Request,
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    run_id: UUID,
    region: Annotated[int, Path(ge=1, le=2**31 - 1)],
) -> StoredRegionReview:
    """The run stays as it was; the verdict is stored beside it, and in the audit trail."""
    new = await JsonReader(NewReview, services.settings.body_timeout_s).parse(request)
    add = partial(services.regions.add, str(run_id), region, new.verdict, new.note, caller)
    return StoredRegionReview.model_validate(asdict(await services.slides.work.run(add)))


@router.get(
    "/reviews",
    summary="Read the verdicts on a run's regions",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownRun),
)
async def list_region_reviews(
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    run_id: UUID,
) -> RegionReviewList:
    """Every person's verdict on every region of one run."""
    found = await services.slides.work.run(partial(services.regions.of, str(run_id), caller))
    return RegionReviewList(reviews=[StoredRegionReview.model_validate(asdict(review)) for review in found])
