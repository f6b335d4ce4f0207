"""``/cases/log``: every recorded answer, two answers compared, and exports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayExport, MayRead
from app.api.exports import export
from app.api.query import KnownParameters
from app.problems import InvalidParameter
from app.records.exports import CSV, JSONL, Format
from app.records.prediction_queries import Order
from app.services import Services, services_of
from app.web.case import id_of, view_of
from app.web.case_query import FILTERS, NAMES, CaseQuery, case_query, choices
from app.web.errors import PageRoute
from app.web.rendering import may, page
from app.web.strings import t

PAGE_SIZE = 50

router = APIRouter(prefix="/cases", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]


def _form(request: Request, caller: Caller) -> CaseQuery[Order]:
    return case_query(request.query_params, caller)


@router.get("/log")
async def list_answers(
    request: Request, caller: MayRead, _: Annotated[None, Depends(KnownParameters(*NAMES))], services: TheServices
) -> Response:
    form = _form(request, caller)

    def read() -> dict[str, Any]:
        found = services.browsing.page(form.order, PAGE_SIZE, form.filter, form.cursor)
        person = caller.actor.reviewer if caller.reads_blind else None
        return {"found": found, "standings": services.browsing.standings([row.id for row in found.rows], person)}

    return page(
        request,
        "log.html",
        422 if form.wrong else 200,
        form=form,
        orders=list(Order),
        **choices(caller),
        exporter=may(caller, Role.PATHOLOGIST, Role.READ, Role.REVIEW),
        **await services.io.run(read),
    )


@router.get("/export.csv")
async def export_csv(
    request: Request, caller: MayExport, _: Annotated[None, Depends(KnownParameters(*FILTERS))], services: TheServices
) -> Response:
    return await _exported(request, caller, services, CSV)


@router.get("/export.jsonl")
async def export_jsonl(
    request: Request, caller: MayExport, _: Annotated[None, Depends(KnownParameters(*FILTERS))], services: TheServices
) -> Response:
    return await _exported(request, caller, services, JSONL)


@router.get("/compare")
async def compare(
    request: Request, caller: MayRead, _: Annotated[None, Depends(KnownParameters("a", "b"))], services: TheServices
) -> Response:
    chosen = [request.query_params.get(name, "") for name in ("a", "b")]
    if not all(chosen):
        raise InvalidParameter(t("compare.choose"))
    a, b = [await view_of(services, id_of(each), caller) for each in chosen]
    return page(request, "compare.html", a=a, b=b)


async def _exported(request: Request, caller: Caller, services: Services, file: Format) -> Response:
    form = _form(request, caller)
    if form.wrong:
        raise InvalidParameter("; ".join(form.wrong))
    return await export(services, caller, file, form.filter)
