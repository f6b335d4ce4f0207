"""``/cases/{prediction_id}``: one recorded answer, its patch, and people's verdicts on it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, cast, get_args
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayRead, MayReview
from app.api.predictions import patch_file
from app.api.query import KnownParameters, chosen
from app.api.reviews import MAX_NOTE, shown_to
from app.problems import InvalidParameter, UnknownPrediction, WrongPicture
from app.records.verdicts import Verdict, standing
from app.services import Services, services_of
from app.web.case_query import LIST, work_query
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.rendering import HEADERS, may, page
from app.web.strings import t
from app.web.view import View, view
from model_zoo.decision import Label

router = APIRouter(prefix="/cases/{prediction_id}", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]
_SAID = {"reviewed": t("case.review.saved"), "next": t("case.review.next")}
NoParameters = Annotated[None, Depends(KnownParameters())]


@router.get("")
async def one_case(
    request: Request,
    caller: MayRead,
    _: Annotated[None, Depends(KnownParameters(*LIST, "done"))],
    services: TheServices,
    prediction_id: str,
) -> Response:
    if wrong := work_query(request.query_params, caller).wrong:
        raise InvalidParameter("; ".join(wrong))
    said = _SAID.get(chosen(request, "done", _SAID), "")
    return await _case_page(request, caller, services, id_of(prediction_id), said=said)


@router.get("/patch")
async def case_patch(caller: MayRead, _: NoParameters, services: TheServices, prediction_id: str) -> Response:
    return await patch_file(services, caller, id_of(prediction_id))


@router.post("/review")
async def review_case(
    request: Request,
    caller: MayReview,
    _: Annotated[None, Depends(KnownParameters(*LIST))],
    services: TheServices,
    prediction_id: str,
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "verdict", "finding", "note", "picture", "then")
    case_id, note = id_of(prediction_id), form["note"].replace("\r\n", "\n")
    if form["finding"]:
        form["verdict"] = _verdict_of(form["finding"], (await view_of(services, case_id, caller)).answer.label)
    wrong = _mistake(form["verdict"], note)
    if not wrong:
        verdict, picture = cast(Verdict, form["verdict"]), form["picture"] or None
        add = partial(services.reviews.add, case_id, verdict, note, caller.actor, caller.scope, picture)
        try:
            if await services.io.run(add) is None:
                raise _unknown(prediction_id)
            return RedirectResponse(_after(request, caller, case_id, form["then"]), 303, headers=HEADERS)
        except WrongPicture as problem:
            wrong = problem.detail
    return await _case_page(request, caller, services, case_id, 422, wrong=wrong, verdict=form["verdict"], note=note)


def _verdict_of(finding: str, label: Label | None) -> str:
    """What a finding made without seeing the answer says of it."""
    if label is None or finding not in get_args(Label):
        return finding if finding == "unsure" else ""
    return "agree" if finding == label else "disagree"


def _after(request: Request, caller: Caller, case_id: UUID, then: str) -> str:
    form = work_query(request.query_params, caller)
    if then == "next":
        return f"/cases/next?{form.query(after=str(case_id), done='next')}"
    return f"/cases/{case_id}?{form.query(done='reviewed')}#reviews"


def hides_answer(services: Services, caller: Caller) -> bool:
    """Whether the model's answer is hidden from this caller where others' verdicts are."""
    return services.settings.blind_review and caller.reads_blind


def _mistake(verdict: str, note: str) -> str:
    if verdict not in get_args(Verdict):
        return t("case.review.missing")
    return t("case.review.long", length=len(note), most=MAX_NOTE) if len(note) > MAX_NOTE else ""


async def _case_page(
    request: Request, caller: Caller, services: Services, case_id: UUID, status: int = 200, **form: str
) -> Response:
    shown = await view_of(services, case_id, caller)

    def read() -> dict[str, Any]:
        found = services.reviews.of(case_id)
        reviews = shown_to(caller, found)
        hidden = len(found) - len(reviews)
        patch = services.predictions.patch(case_id, caller.scope)
        return {
            "reviews": reviews,
            "hidden": hidden,
            "masked": hidden > 0 and shown.answer.label is not None and hides_answer(services, caller),
            "standing": standing(found),
            "stored": patch is not None and patch.data is not None,
        }

    return page(
        request,
        "case.html",
        status,
        view=shown,
        text=shown.text,
        form=work_query(request.query_params, caller),
        findings=(*get_args(Label), "unsure"),
        reviewer=may(caller, Role.PATHOLOGIST, Role.REVIEW),
        verdicts=get_args(Verdict),
        most=MAX_NOTE,
        **await services.io.run(read),
        **{"said": "", "wrong": "", "verdict": "", "note": ""} | form,
    )


async def view_of(services: Services, case_id: UUID, caller: Caller) -> View:
    """The view of an answer that the caller may read.

    Raises:
        UnknownPrediction: if there is none.
    """

    def read() -> View | None:
        text = services.predictions.find(case_id, caller.scope)
        return None if text is None else view(services, text)

    shown = await services.io.run(read)
    if shown is None:
        raise _unknown(str(case_id))
    return shown


def id_of(text: str) -> UUID:
    """The id in a path.

    Raises:
        UnknownPrediction: if it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise _unknown(text) from None


def _unknown(text: str) -> UnknownPrediction:
    return UnknownPrediction(f"There is no answer {text[:64]} that this key may read.")
