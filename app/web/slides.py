"""``/ui/slides``: whole slides, scoring them, and a run's map."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar, cast, get_args

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayPredict, MayRead, MayReview, may_read_all
from app.api.query import KnownParameters
from app.api.runs import REPORT_POLICY
from app.problems import InvalidForm, NoModel, SlideRefused, SlidesNotInstalled, UnknownPart, UnknownRun, UnknownSlide
from app.records.models import ModelEntry
from app.records.region_reviews import RegionReview
from app.records.verdicts import Verdict
from app.services import Services, services_of
from app.slides.entries import DICOM, MEDIA_TYPES, SlideEntry
from app.web import slide_map
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.rendering import HEADERS, may, page
from app.web.strings import t
from app.wording import RUN_ID, SLIDE_ID
from slides.runfile import Run, RunError, read_runfile

PAGE_SIZE = 24
OTHERS = 10
THUMBNAIL_PX = 320
WAIT_S = 2.0
PREVALENCE = 0.05
ROTATIONS, SHIFTS = ("auto", "full", "none"), ("none", "auto", "report")
ACTIVE = ("queued", "running")
KEPT = {"Cache-Control": "private, max-age=3600", "Vary": "Cookie"}

R = TypeVar("R")

log = logging.getLogger("rosette.slides")

router = APIRouter(prefix="/ui/slides", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]
NoParameters = Annotated[None, Depends(KnownParameters())]
SlideId = Annotated[str, Path(pattern=SLIDE_ID)]
RunId = Annotated[str, Path(pattern=RUN_ID)]
Place = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("")
async def list_slides(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("page", "q"))],
    services: TheServices,
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
    q: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    trouble, entries = "", list[SlideEntry]()
    try:
        trouble = await _call(services, services.slides.unavailable)
        entries = [] if trouble else await _call(services, services.slides.list, caller, WAIT_S)
    except SlidesNotInstalled as problem:
        trouble = problem.detail
    wanted = [entry for entry in entries if q.strip().lower() in _title(entry).lower()]
    pages = max(1, -(-len(wanted) // PAGE_SIZE))
    number = min(number, pages)
    return page(
        request,
        "slides.html",
        entries=wanted[(number - 1) * PAGE_SIZE : number * PAGE_SIZE],
        count=len(wanted),
        all=len(entries),
        number=number,
        pages=pages,
        q=q.strip(),
        trouble=trouble,
        title=_title,
        active=ACTIVE,
        asker=may(caller, Role.PREDICT, Role.PATHOLOGIST),
        rotations=ROTATIONS,
        shifts=SHIFTS,
        models=await _call(services, _models, services),
        prevalence=services.settings.prevalence or PREVALENCE,
    )


@router.get("/{slide_id}/thumbnail.jpeg")
async def thumbnail(caller: MayRead, _: NoParameters, services: TheServices, slide_id: SlideId) -> Response:
    data = await _call(services, services.slides.thumbnail, slide_id, THUMBNAIL_PX)
    return Response(data, media_type="image/jpeg", headers=KEPT)


@router.get("/{slide_id}/tiles/{level}/{column}_{row}.jpeg")
async def tile(
    caller: MayRead, _: NoParameters, services: TheServices, slide_id: SlideId, level: Place, column: Place, row: Place
) -> Response:
    data = await _call(services, services.slides.tile, slide_id, level, column, row)
    return Response(data, media_type="image/jpeg", headers=KEPT)


@router.post("/{slide_id}/score")
async def score(
    request: Request, caller: MayPredict, _: NoParameters, services: TheServices, slide_id: SlideId
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "prevalence", "rotations", "shifts", "model")
    prevalence = _prevalence(form["prevalence"]) or services.settings.prevalence or PREVALENCE
    if form["rotations"] not in ROTATIONS or form["shifts"] not in SHIFTS:
        raise InvalidForm(t("slides.form.choice"))
    choices = prevalence, form["rotations"], form["shifts"], form["model"]
    run = await _call(services, services.slides.start_run, slide_id, caller, *choices)
    return RedirectResponse(f"/ui/slides/runs/{run.id}", 303, headers=HEADERS)


@router.get("/runs/{run_id}")
async def one_run(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("map"))],
    services: TheServices,
    run_id: RunId,
    map_: Annotated[str, Query(alias="map", pattern="^shown$|^$")] = "",
) -> Response:
    run = await _call(services, services.slides.run, run_id, caller)
    entry = zoom = None
    trouble = ""
    try:
        entry = await _call(services, services.slides.entry, run.slide_id, caller)
        zoom = await _call(services, services.slides.deep_zoom, run.slide_id)
    except (UnknownSlide, SlideRefused) as problem:
        trouble = problem.detail
    runs = await _call(services, services.slides.runs, caller, OTHERS + 1, None, run.slide_id)
    found: dict[str, Any] = {"about": None, "regions": None}
    reviewer = may(caller, Role.REVIEW, Role.PATHOLOGIST)
    judged: dict[int, list[RegionReview]] = {}
    hidden = False
    has = await _call(services, services.slides.products, run.id)
    may_score = {each.id: f"{each.name} {each.version}" for each in await _call(services, _models, services)}
    named = may(caller, Role.READ, Role.REVIEW)
    if run.state == "complete":
        found = await _call(services, _read_map, services, run.id, caller)
        for review in await _call(services, services.regions.of, run.id, caller) if reviewer else ():
            judged.setdefault(review.region, []).append(review)
        scope = found["about"].scope
        hidden = (scope is None or scope.verdict == "out_of_scope") and map_ != "shown"
    return page(
        request,
        "run.html",
        run=run,
        title=_title(entry) if entry else t("slides.unnamed", id=run.slide_id[:8]),
        zoom=zoom,
        trouble=trouble,
        others=[each for each in runs if each.id != run.id][:OTHERS],
        microns=entry.microns_per_pixel if entry else None,
        active=run.state in ACTIVE,
        hidden=hidden,
        asker=may(caller, Role.PREDICT, Role.PATHOLOGIST),
        reviewer=reviewer,
        judged=judged,
        verdicts=get_args(Verdict),
        same_model=_serves(services, found["about"]),
        models=may_score,
        products=[] if run.state != "complete" else [each for each in has if named or each not in DICOM],
        palette=slide_map.palette(),
        swatches=slide_map.swatches(),
        states=slide_map.state_names(),
        reasons=slide_map.REASONS,
        **found,
    )


@router.get("/runs/{run_id}/progress")
async def progress(caller: MayRead, _: NoParameters, services: TheServices, run_id: RunId) -> Response:
    run = await _call(services, services.slides.run, run_id, caller)
    return JSONResponse({"state": run.state, "done": run.done, "total": run.total}, headers=HEADERS)


@router.post("/runs/{run_id}/cancel")
async def cancel(
    request: Request, caller: MayPredict, _: NoParameters, services: TheServices, run_id: RunId
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    await _call(services, services.slides.cancel, run_id, caller)
    return RedirectResponse(f"/ui/slides/runs/{run_id}", 303, headers=HEADERS)


@router.post("/runs/{run_id}/regions/{region}/review")
async def review_region(
    request: Request, caller: MayReview, _: NoParameters, services: TheServices, run_id: RunId, region: Place
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "verdict")
    if form["verdict"] not in get_args(Verdict):
        raise InvalidForm(t("case.review.missing"))
    verdict = cast(Verdict, form["verdict"])
    review = await _call(services, services.regions.add, run_id, region, verdict, "", caller)
    return JSONResponse({"verdict": review.verdict, "reviewer": review.reviewer}, headers=HEADERS)


@router.get("/runs/{run_id}/cells.bin")
async def cells(caller: MayRead, _: NoParameters, services: TheServices, run_id: RunId) -> Response:
    """All cells, packed; every browser that runs the page's script reads gzip."""
    packed = await _call(services, _pack, services, run_id, caller)
    return Response(packed, media_type="application/octet-stream", headers=KEPT | {"Content-Encoding": "gzip"})


@router.get("/runs/{run_id}/outlines.json")
async def outlines(caller: MayRead, _: NoParameters, services: TheServices, run_id: RunId) -> Response:
    regions = await _call(services, _regions, services, run_id, caller)
    return JSONResponse(regions.polygons, headers=KEPT)


@router.get("/runs/{run_id}/cells/{column}/{row}.png")
async def patch(
    caller: MayRead, _: NoParameters, services: TheServices, run_id: RunId, column: Place, row: Place
) -> Response:
    run = await _call(services, services.slides.run, run_id, caller)
    data = await _call(services, services.slides.patch_answer, run.slide_id, run.id, column, row)
    return Response(data, media_type="image/png", headers=KEPT)


@router.get("/runs/{run_id}/{name}")
async def product(caller: MayRead, _: NoParameters, services: TheServices, run_id: RunId, name: str) -> Response:
    """A file of the run: the report to read and print, in a page of its own policy, the others as downloads."""
    if name not in MEDIA_TYPES:
        raise UnknownPart(f"A run has no {name[:64]}: it has {', '.join(MEDIA_TYPES)}.")
    if name in DICOM and not may(caller, Role.READ, Role.REVIEW):
        raise may_read_all.forbidden(caller)
    file = await _call(services, services.slides.product, run_id, caller, name)
    if name == "report.html":
        headers = HEADERS | {"Content-Security-Policy": REPORT_POLICY}
    else:
        headers = HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'}
    return FileResponse(file, media_type=MEDIA_TYPES[name], headers=headers)


def _models(services: Services) -> Sequence[ModelEntry]:
    """Those that may score; none where no model serves, which the button's answer says."""
    try:
        return services.slides.models()
    except NoModel:
        return []


def _read_map(services: Services, run_id: str, caller: Caller) -> dict[str, Any]:
    return {"about": _about(services, run_id, caller), "regions": _regions(services, run_id, caller)}


def _about(services: Services, run_id: str, caller: Caller) -> Run:
    return read_runfile(services.slides.product(run_id, caller, "cells.csv").parent)


def _regions(services: Services, run_id: str, caller: Caller) -> slide_map.Regions:
    return slide_map.read_regions(services.slides.product(run_id, caller, "regions.geojson"))


def _pack(services: Services, run_id: str, caller: Caller) -> bytes:
    run = services.slides.run(run_id, caller)
    return slide_map.packed_cells(services.slides.product(run_id, caller, "cells.csv").parent, run.prevalence)


def _serves(services: Services, about: Run | None) -> bool:
    """Whether the run's model is the one that answers patches now."""
    model = services.serving.state.model
    return about is not None and model is not None and model.sha256 == about.model.sha256


def _title(entry: SlideEntry) -> str:
    return entry.name or t("slides.unnamed", id=entry.id[:8])


def _prevalence(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise InvalidForm(t("slides.form.prevalence"))
    return value


async def _call(services: Services, function: Callable[..., R], *given: object) -> R:
    try:
        return await services.slides.work.run(partial(function, *given))
    except RunError as error:  # its message names folders of this machine
        log.error("a run cannot be shown: %s", error)
        raise UnknownRun("The files of this run are damaged or gone: score the slide again.") from error
