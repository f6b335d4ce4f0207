"""``/slides``: which slides are offered, and what is shown of them; ``POST /slides/{slide_id}/scores`` starts a run."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.dependencies import MayPredict, MayRead
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.api.runs import Run
from app.services import Services, services_of
from app.slides.service import MAX_THUMBNAIL
from app.wording import SLIDE_ID

router = APIRouter(prefix="/slides", tags=["slides"])

DEFAULT_PREVALENCE = 0.05
CACHED = {"Cache-Control": "private, max-age=3600"}
NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]
SlideId = Annotated[str, Path(pattern=SLIDE_ID)]
Index = Annotated[int, Path(ge=0, lt=2**31)]


class Slide(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Stays the same as long as the file's place below its folder does.")
    name: str | None = Field(description="The file's path below its folder; null for roles predict and pathologist.")
    state: Literal["ready", "refused", "waiting"] = Field(
        description="`waiting`: it has not been opened yet. `refused`: it cannot be scored; `reason` says why."
    )
    reason: str
    width: int | None = Field(description="Of level 0, in pixels.")
    height: int | None
    microns_per_pixel: float | None = Field(description="Of level 0, as the file states it.")
    vendor: str = Field(description="OpenSlide's name of the format.")
    last_run: Run | None = Field(description="The newest run; for roles predict and pathologist, of its own.")


class SlideList(BaseModel):
    slides: list[Slide] = Field(description="By folder and path.")
    unavailable: str = Field(description="Why no slide is offered; empty if slides are.")


class Tiles(BaseModel):
    """Deep Zoom: the last level has all pixels, each level below half as many across and down."""

    model_config = ConfigDict(from_attributes=True)

    width: int = Field(description="Of what was scanned, in level-0 pixels.")
    height: int
    bounds_x: int = Field(description="Level-0 pixel at which that begins.")
    bounds_y: int
    levels: int
    tile: int = Field(description="Pixels of a tile across and down, without the overlap.")
    overlap: int


class SlideWithTiles(Slide):
    tiles: Tiles | None = Field(description="Null where the slide cannot be read.")


class NewRun(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prevalence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of cells that hold metastasis where regions are looked for; by default ROSETTE_PREVALENCE, "
        f"else {DEFAULT_PREVALENCE}.",
    )
    rotations: Literal["none", "auto", "full"] = Field(
        "auto", description="Of which cells the turns are measured; `auto`: of those in the review band or above."
    )
    shifts: Literal["none", "auto", "report"] = Field("auto", description="The same for eight shifts of 4 px.")
    model: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Name or SHA-256 of a model that was registered at the server's start, or of the one that serves, "
        "which is the default.",
    )


def _image(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}}}}


_READ = errors.responses(
    *problems.ALWAYS, problems.SlidesNotInstalled, problems.UnknownSlide, problems.SlideRefused, problems.NoModel
)
_PART = errors.responses(
    *problems.ALWAYS,
    problems.SlidesNotInstalled,
    problems.UnknownSlide,
    problems.UnknownPart,
    problems.UnknownRun,
    problems.SlideRefused,
    problems.NoModel,
)


@router.get(
    "",
    summary="List the slides that are offered",
    responses=errors.responses(*problems.ALWAYS, problems.SlidesNotInstalled),
)
async def list_slides(caller: MayRead, _: NoParameters, services: TheServices) -> SlideList:
    """The slides in the folders of `ROSETTE_SLIDES`; those that nobody has opened before may still be `waiting`."""
    slides = services.slides
    found = await slides.work.run(partial(slides.list, caller))
    why = await slides.work.run(slides.unavailable)
    return SlideList(slides=[Slide.model_validate(each) for each in found], unavailable=why)


@router.get("/{slide_id}", summary="Read one slide and the geometry of its tiles", responses=_READ)
async def read_slide(caller: MayRead, _: NoParameters, services: TheServices, slide_id: SlideId) -> SlideWithTiles:
    """The slide is opened if nobody has done so since the file changed."""
    slides = services.slides
    entry = await slides.work.run(partial(slides.entry, slide_id, caller))
    tiles = None
    if entry.width is not None:
        tiles = Tiles.model_validate(await slides.work.run(partial(slides.deep_zoom, slide_id)))
    return SlideWithTiles(**Slide.model_validate(entry).model_dump(), tiles=tiles)


@router.get("/{slide_id}/thumbnail", summary="See a slide", response_class=Response, responses=_image("jpeg") | _READ)
async def read_thumbnail(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("max_px"))],
    services: TheServices,
    slide_id: SlideId,
    max_px: Annotated[int, Query(ge=16, le=MAX_THUMBNAIL, description="Of its longer side.")] = 512,
) -> Response:
    """What was scanned, as JPEG; labels and macro images are never read."""
    slides = services.slides
    return _jpeg(await slides.work.run(partial(slides.thumbnail, slide_id, max_px)))


@router.get(
    "/{slide_id}/tiles/{level}/{column}_{row}.jpeg",
    summary="See a tile of a slide",
    response_class=Response,
    responses=_image("jpeg") | _PART,
)
async def read_tile(
    caller: MayRead,
    _: NoParameters,
    services: TheServices,
    slide_id: SlideId,
    level: Annotated[int, Path(ge=0, le=32)],
    column: Index,
    row: Index,
) -> Response:
    """A Deep Zoom tile; what cannot be read is grey."""
    slides = services.slides
    return _jpeg(await slides.work.run(partial(slides.tile, slide_id, level, column, row)))


@router.get(
    "/{slide_id}/cells/{column}/{row}.png",
    summary="Read the patch of a cell",
    response_class=Response,
    responses=_image("png") | _PART,
)
async def read_cell(
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("run"))],
    services: TheServices,
    slide_id: SlideId,
    column: Index,
    row: Index,
    run: Annotated[
        UUID | None, Query(description="Whose model's scale counts; by default the serving model's.")
    ] = None,
) -> Response:
    """The 96×96 patch whose centre is this cell, as a run scores it: `POST /predict` answers it with the same bits."""
    slides = services.slides
    run_id = str(run) if run else None
    if run_id is not None:
        await slides.work.run(partial(slides.run, run_id, caller))
    patch = await slides.work.run(partial(slides.patch_answer, slide_id, run_id, column, row))
    return Response(patch, media_type="image/png", headers=CACHED)


@router.post(
    "/{slide_id}/scores",
    status_code=202,
    summary="Score a slide",
    openapi_extra=described(NewRun),
    responses=_READ
    | errors.responses(
        *problems.ALWAYS,
        problems.NoModel,
        problems.UnknownModel,
        *OF_JSON,
    ),
)
async def score_slide(
    request: Request, response: Response, caller: MayPredict, _: NoParameters, services: TheServices, slide_id: SlideId
) -> Run:
    """Starts a run, or lets it wait until those before it have ended; `Location` says where it is followed."""
    wanted = await JsonReader(NewRun, services.settings.body_timeout_s).parse(request)
    prevalence = wanted.prevalence or services.settings.prevalence or DEFAULT_PREVALENCE
    slides = services.slides
    start = partial(slides.start_run, slide_id, caller, prevalence, wanted.rotations, wanted.shifts, wanted.model or "")
    run = await slides.work.run(start)
    response.headers["Location"] = f"{services.settings.root_path or ''}/runs/{run.id}"
    return Run.model_validate(run)


def _jpeg(picture: bytes) -> Response:
    return Response(picture, media_type="image/jpeg", headers=CACHED)
