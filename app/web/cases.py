"""``/cases``: the recorded answers, one answer, two answers compared, and reviews."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, cast, get_args
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayExport, MayRead, MayReview
from app.api.exports import export
from app.api.predictions import own_key
from app.api.query import KnownParameters
from app.api.reviews import MAX_NOTE
from app.problems import InvalidParameter, UnknownPrediction
from app.records.exports import CSV, JSONL, Format
from app.records.prediction_queries import AMONG, Order
from app.records.verdicts import Verdict
from app.services import Services, services_of
from app.web.case_query import FILTERS, NAMES, CaseQuery, case_query
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.rendering import HEADERS, may, page
from app.web.strings import t
from app.web.view import View, view
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

PAGE_SIZE = 50

router = APIRouter(prefix="/cases", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]


def _form(request: Request, caller: Caller) -> CaseQuery:
    return case_query(request.query_params, own_key(caller))


@router.get("")
async def list_cases(
    request: Request, caller: MayRead, _: Annotated[None, Depends(KnownParameters(*NAMES))], services: TheServices
) -> Response:
    form = _form(request, caller)
    reviewer = may(caller, Role.REVIEW)

    def read() -> dict[str, Any]:
        found = services.browsing.page(form.order, PAGE_SIZE, form.filter, form.cursor)
        verdicts = services.browsing.verdicts([row.id for row in found.rows]) if reviewer else {}
        return {"found": found, "verdicts": verdicts}

    return page(
        request,
        "cases.html",
        422 if form.wrong else 200,
        form=form,
        decisions=get_args(Decision),
        reasons=get_args(Code),
        labels=get_args(Label),
        orders=list(Order),
        among=f"{AMONG:,}",
        own=own_key(caller) is not None,
        reviewer=reviewer,
        exporter=may(caller, Role.READ, Role.REVIEW),
        asker=may(caller, Role.PREDICT),
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
    a, b = [await _view(services, _id(each), caller) for each in chosen]
    return page(request, "compare.html", a=a, b=b)


@router.get("/{prediction_id}")
async def one_case(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters("done"))],
    services: TheServices,
    prediction_id: str,
) -> Response:
    said = t("case.review.saved") if request.query_params.get("done") == "reviewed" else ""
    return await _case_page(request, caller, services, _id(prediction_id), said=said)


@router.post("/{prediction_id}/review")
async def review_case(
    request: Request,
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters())],
    services: TheServices,
    prediction_id: str,
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "verdict", "note")
    case_id, verdict, note = _id(prediction_id), form["verdict"], form["note"].replace("\r\n", "\n")
    wrong = ""
    if verdict not in get_args(Verdict):
        wrong = t("case.review.missing")
    elif len(note) > MAX_NOTE:
        wrong = t("case.review.long", length=len(note), most=MAX_NOTE)
    if wrong:
        return await _case_page(request, caller, services, case_id, 422, wrong=wrong, verdict=verdict, note=note)
    add = partial(services.reviews.add, case_id, cast(Verdict, verdict), note, caller.actor)
    if await services.io.run(add) is None:
        raise _unknown(prediction_id)
    return RedirectResponse(f"/cases/{case_id}?done=reviewed#reviews", 303, headers=HEADERS)


async def _case_page(
    request: Request, caller: Caller, services: Services, case_id: UUID, status: int = 200, **form: str
) -> Response:
    shown = await _view(services, case_id, caller)
    reviewer = may(caller, Role.REVIEW)
    judged = await services.io.run(partial(services.reviews.of, case_id)) if reviewer else []
    return page(
        request,
        "case.html",
        status,
        view=shown,
        text=shown.text,
        reviewer=reviewer,
        reviews=judged,
        verdicts=get_args(Verdict),
        most=MAX_NOTE,
        **{"said": "", "wrong": "", "verdict": "", "note": ""} | form,
    )


async def _view(services: Services, case_id: UUID, caller: Caller) -> View:
    def read() -> View | None:
        text = services.predictions.find(case_id, own_key(caller))
        return None if text is None else view(services, text)

    shown = await services.io.run(read)
    if shown is None:
        raise _unknown(str(case_id))
    return shown


async def _exported(request: Request, caller: Caller, services: Services, file: Format) -> Response:
    form = _form(request, caller)
    if form.wrong:
        raise InvalidParameter("; ".join(form.wrong))
    return await export(services, caller.actor, file, form.filter)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _unknown(text) from None


def _unknown(text: str) -> UnknownPrediction:
    return UnknownPrediction(f"There is no answer {text[:64]} that this key may read.")
