"""``/``: classifies dropped, pasted or chosen patches one by one."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from app.access.caller import Role
from app.access.dependencies import MayPredict, RequireRole
from app.answering import PredictionRequest
from app.api.admission import admit, client_gone
from app.api.predict import StatedMpp, file_name_of
from app.api.query import KnownParameters
from app.problems import Problem, RecordsUnavailable
from app.records.filters import Filter
from app.records.prediction_queries import Order
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import check_script
from app.web.paths import home
from app.web.rendering import HEADERS, fragment, may, page
from app.web.view import view
from app.wording import IDENTIFIER
from model_zoo.occlusion import Occlusion
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts

MOST_EARLIER = 200
OUTCOME, ANSWERED, REFUSED = "X-Rosette-Outcome", "answered", "refused"

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def diagnose(
    request: Request,
    caller: Annotated[object, Depends(RequireRole(*Role))],
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> Response:
    session = request.state.session
    if not may(session.caller, Role.PREDICT, Role.PATHOLOGIST):
        return RedirectResponse(home(session.caller), 303, headers=HEADERS)
    since = Filter(key=session.caller.key_id, since=session.opened_at)
    read = partial(services.browsing.page, Order.NEWEST, MOST_EARLIER, since)
    try:
        earlier = (await services.io.run(read)).rows
    except RecordsUnavailable:  # patches are answered all the same
        earlier = []
    return page(
        request,
        "diagnose.html",
        earlier=earlier,
        most_earlier=MOST_EARLIER,
        max_bytes=services.settings.max_body_bytes,
        model=services.serving.state.model,
        trouble=services.model_error,
        names=services.settings.store_names,
    )


@router.post("/diagnose")
async def answer_patch(
    request: Request,
    caller: MayPredict,
    _: Annotated[None, Depends(KnownParameters("rotations", "shifts", "occlusion", "case_id", "slide_id", "mpp"))],
    services: Annotated[Services, Depends(services_of)],
    rotations: Rotations = Rotations.FULL,
    shifts: Shifts = Shifts.NONE,
    occlusion: Occlusion = Occlusion.NONE,
    case_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None,
    slide_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None,
    mpp: Annotated[StatedMpp, Query()] = None,
) -> Response:
    """A fragment of the page: the answer or the problem. The status is 200 also for a refused file."""
    check_script(request)
    try:
        [image], stated = await admit(request, services, request.app.state.patch_reader, caller, mpp)
        asked = PredictionRequest(
            image,
            rotations,
            caller.key_id,
            case_id,
            slide_id,
            shifts=shifts,
            mpp=stated,
            occlusion=occlusion,
            file_name=file_name_of(request),
        )
        recorded = await services.answering.answer(asked, client_gone(request))
        shown = await to_thread.run_sync(partial(view, services, recorded.text))
    except Problem as problem:
        headers = {OUTCOME: REFUSED} | {
            name: problem.headers[name] for name in ("Retry-After",) if name in problem.headers
        }
        return fragment("_refusal.html", headers=headers, problem=problem)
    return fragment("_result.html", headers={OUTCOME: ANSWERED}, view=shown, with_patch=True)
