"""``/cases``: the worklist of cases, the answers of a case, and the way to the next answer."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.caller import Caller
from app.access.dependencies import MayRead
from app.api.query import KnownParameters, chosen
from app.problems import InvalidParameter
from app.records.worklist import CaseEntry, WorkEntry, WorkOrder
from app.services import Services, services_of
from app.web.case import hides_answer, id_of
from app.web.case_query import LIST, NAMES, CaseQuery, choices, work_query
from app.web.errors import PageRoute
from app.web.rendering import HEADERS, page
from app.web.strings import t

PAGE_SIZE = 50
Way = Literal["left", "next", "previous"]

router = APIRouter(prefix="/cases", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]


@router.get("")
async def worklist(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters(*NAMES, "done"))],
    services: TheServices,
) -> Response:
    done, form = chosen(request, "done", ("all", "end")), work_query(request.query_params, caller)
    one_case = form.filter.case_id is not None or bool(form.filter.uncased)
    found, following = await services.io.run(partial(_read, services, caller, form, one_case))
    return page(
        request,
        "worklist.html",
        422 if form.wrong else 200,
        form=form,
        said=t(f"work.done.{done}") if done else "",
        one_case=one_case,
        found=found,
        next=following,
        slides=_by_slide(found) if form.filter.case_id else [(None, found)],
        hidden={each.id for each in found if isinstance(each, WorkEntry) and _hidden(services, caller, each)},
        orders=list(WorkOrder),
        **choices(caller),
        names=services.settings.store_names,
    )


def _read(
    services: Services, caller: Caller, form: CaseQuery[WorkOrder], one_case: bool
) -> tuple[list[CaseEntry] | list[WorkEntry], str | None]:
    offset = int(form.cursor or 0)
    found: list[Any]
    if one_case:
        found = services.worklist.answers(
            form.filter, form.order, PAGE_SIZE + 1, offset, caller.actor.reviewer, caller.reads_blind
        )
    else:
        found = services.worklist.cases(form.filter, form.order, PAGE_SIZE + 1, offset)
    return found[:PAGE_SIZE], str(offset + PAGE_SIZE) if len(found) > PAGE_SIZE else None


def _by_slide(found: list[Any]) -> list[tuple[str | None, list[WorkEntry]]]:
    return [(slide, list(rows)) for slide, rows in groupby(found, key=attrgetter("slide_id"))]


def _hidden(services: Services, caller: Caller, entry: WorkEntry) -> bool:
    unread = entry.own is None and entry.readers > 0 and entry.state != "disagreed"
    return unread and entry.label is not None and hides_answer(services, caller)


@router.get("/next")
async def go_on(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters(*LIST, "after", "way", "done"))],
    services: TheServices,
) -> Response:
    """To a neighbour of the answer ``after``: the next one that is left to judge, or whichever is next or previous."""
    form = work_query(request.query_params, caller)
    way = chosen(request, "way", get_args(Way)) or "left"
    if form.wrong:
        raise InvalidParameter("; ".join(form.wrong))
    after = str(id_of(request.query_params["after"])) if "after" in request.query_params else ""
    beside = await services.io.run(
        partial(services.worklist.beside, after, form.filter, form.order, caller.actor.reviewer)
    )
    target = {"left": beside.next_left, "next": beside.next, "previous": beside.previous}[way]
    query = form.list_query
    if target is None:
        done = "all" if way == "left" else "end"
        return RedirectResponse(f"/cases?{query}{'&' if query else ''}done={done}", 303, headers=HEADERS)
    reviewed = {"done": "next"} if chosen(request, "done", ("next",)) else {}
    query = form.query(cursor=None, **reviewed)
    return RedirectResponse(f"/cases/{target}" + (f"?{query}" if query else ""), 303, headers=HEADERS)
