"""``/runs``: how far slides are scored, and what came of it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from app import problems
from app.access.caller import Caller
from app.access.dependencies import MayPredict, MayRead, MayReadAll
from app.api import errors
from app.api.query import KnownParameters
from app.services import Services, services_of
from app.slides.entries import DICOM, MEDIA_TYPES, Product
from app.wording import SLIDE_ID

router = APIRouter(prefix="/runs", tags=["slides"])

MAX_LIMIT = 200
# A report is a page of its own: whatever it holds, it runs nothing and loads nothing.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]


class RunFigure(BaseModel):
    name: str
    value: float
    low: float | None
    high: float | None


class Scope(BaseModel):
    verdict: Literal["in_scope", "out_of_scope", "unknown"]
    cells: int = Field(description="Cells that were compared.")
    figures: list[RunFigure] = Field(description="Each with the bounds within which it is usual.")
    reference: str
    text: str = Field(description="The verdict in a sentence.")


class Run(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    slide_id: str
    state: Literal["queued", "running", "complete", "failed", "cancelled"]
    model: str = Field(description="SHA-256 of the artifact.")
    prevalence: float
    rotations: Literal["none", "auto", "full"]
    shifts: Literal["none", "auto", "report"]
    done: int = Field(description="Cells that are done.")
    total: int = Field(description="Cells of the slide; 0 until that is known.")
    reason: str = Field(description="Why it failed; empty otherwise.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    scope: Scope | None = Field(
        description="Whether the slide looks like what the model was made for: look at it before the map. "
        "Null until the run is complete."
    )


class RunPage(BaseModel):
    runs: list[Run] = Field(description="Newest first.")
    next: UUID | None = Field(description="The cursor of the next page; null on the last.")


@router.get("", summary="List the runs", responses=errors.responses(*problems.ALWAYS))
async def list_runs(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("limit", "cursor", "slide"))],
    services: TheServices,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    slide: Annotated[str | None, Query(pattern=SLIDE_ID, description="Of this slide alone.")] = None,
) -> RunPage:
    """Runs, newest first: all of them for roles read, review and admin, a key's own for roles
    predict and pathologist."""
    slides = services.slides
    before = str(cursor) if cursor else None
    found = await slides.work.run(partial(slides.runs, caller, limit + 1, before, slide))
    runs = [Run.model_validate(each) for each in found[:limit]]
    return RunPage(runs=runs, next=runs[-1].id if len(found) > limit else None)


@router.get("/{run_id}", summary="Read one run", responses=errors.responses(*problems.ALWAYS, problems.UnknownRun))
async def read_run(caller: MayRead, _: NoParameters, services: TheServices, run_id: UUID) -> Run:
    """How far it is, or what came of it."""
    slides = services.slides
    return Run.model_validate(await slides.work.run(partial(slides.run, str(run_id), caller)))


@router.post(
    "/{run_id}/cancel",
    summary="Cancel a run",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownRun, problems.RunState),
)
async def cancel_run(caller: MayPredict, _: NoParameters, services: TheServices, run_id: UUID) -> Run:
    """A run that waits or is under way ends within seconds, and what it has scored is dropped."""
    slides = services.slides
    return Run.model_validate(await slides.work.run(partial(slides.cancel, str(run_id), caller)))


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


def _add(name: Product, summary: str, meaning: str) -> None:
    async def answer(caller: Caller, services: Services, run_id: UUID) -> Response:
        slides = services.slides
        path = await slides.work.run(partial(slides.product, str(run_id), caller, name))
        headers = {"Content-Security-Policy": REPORT_POLICY} if name == "report.html" else {}
        return FileResponse(path, media_type=MEDIA_TYPES[name], headers=headers)

    async def read_product(caller: MayRead, _: NoParameters, services: TheServices, run_id: UUID) -> Response:
        return await answer(caller, services, run_id)

    async def read_named_product(caller: MayReadAll, _: NoParameters, services: TheServices, run_id: UUID) -> Response:
        return await answer(caller, services, run_id)

    router.add_api_route(
        f"/{{run_id}}/{name}",
        read_named_product if name in DICOM else read_product,
        methods=["GET"],
        name=f"read_{name.replace('.', '_')}",
        summary=summary,
        description=meaning,
        response_class=Response,
        responses=_file(MEDIA_TYPES[name].partition(";")[0])
        | errors.responses(
            *problems.ALWAYS, problems.UnknownRun, problems.RunState, *([problems.DicomNotInstalled] * (name in DICOM))
        ),
    )


_add("cells.csv", "Read a run's cells", "One row for each cell: its place, state, logits, probability and consistency.")
_add("regions.geojson", "Read a run's regions", "Polygons in level-0 pixels, with the notice.")
_add("heatmap.png", "See a run's map", "The map with its legend. Look at the run's scope first.")
_add("report.html", "Read a run's report", "One page to read and print, which loads nothing and runs nothing.")
_add("probability.dcm", "Read a run's map as DICOM", "A Parametric Map. It holds the slide's patient attributes.")
_add("regions.dcm", "Read a run's regions as DICOM", "A Comprehensive 3D SR. It holds the slide's patient attributes.")
