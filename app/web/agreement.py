"""``/ui/agreement``: how far people agree with the answers; random samples to judge."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from app.access.caller import Caller, Role
from app.access.dependencies import RequireRole
from app.api.agreement import MayDraw, MonthlyAgreement, SampleRequest, month_of
from app.api.query import KnownParameters
from app.problems import InvalidParameter
from app.records.agreement import MAX_DRAWN, Month
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.rendering import HEADERS, may, page
from app.web.strings import t

MONTHS = 12

router = APIRouter(prefix="/ui/agreement", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]


@router.get("")
async def agreement_page(
    request: Request,
    caller: Annotated[Caller, Depends(RequireRole(Role.READ, Role.REVIEW))],
    _: Annotated[None, Depends(KnownParameters("drawn"))],
    services: TheServices,
) -> Response:
    drawn = request.query_params.get("drawn", "")
    if drawn and not re.fullmatch(r"[0-9]{1,3}", drawn):
        raise InvalidParameter(t("agreement.drawn.wrong"))
    said = t("agreement.drawn.said", n=int(drawn)) if drawn else ""
    return await _page(request, services, caller, said)


@router.post("")
async def draw(
    request: Request, caller: MayDraw, _: Annotated[None, Depends(KnownParameters())], services: TheServices
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "month", "n")
    try:
        wanted = SampleRequest.model_validate(form)
    except ValidationError:
        return await _page(request, services, caller, t("agreement.wrong", most=MAX_DRAWN), wrong=True)
    month, model = month_of(wanted.month), services.model.sha256
    found = await services.io.run(partial(services.agreement.draw, month, model, wanted.n, caller.actor))
    return RedirectResponse(f"/ui/agreement?drawn={len(found)}", 303, headers=HEADERS)


async def months_of(services: Services, model_id: str | None = None) -> list[MonthlyAgreement]:
    """The last twelve months' figures, of one model or of all."""
    read = partial(services.agreement.months, datetime.now(UTC), MONTHS, model_id)
    return [MonthlyAgreement.of(each) for each in await to_thread.run_sync(read, limiter=services.counting)]


async def _page(request: Request, services: Services, caller: Caller, said: str, wrong: bool = False) -> Response:
    may_draw = may(caller, Role.REVIEW)
    waiting = await services.io.run(partial(services.agreement.waiting, MAX_DRAWN)) if may_draw else []
    context: dict[str, Any] = {
        "months": await months_of(services),
        "may_draw": may_draw,
        "waiting": waiting,
        "month": str(Month.of(datetime.now(UTC))),
    }
    return page(request, "agreement.html", 422 if wrong else 200, said=said, wrong=wrong, **context)
