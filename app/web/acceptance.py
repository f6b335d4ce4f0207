"""``/acceptance``: acceptance tests of models on the site's own patches, or on people's verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.dependencies import MayAdminister
from app.api.query import KnownParameters
from app.problems import ModelUnusable, NoVerdictTest, Problem
from app.records.models import ModelEntry
from app.registry.advice import metrics_of
from app.services import Services, services_of
from app.verdict_test import DAYS, MAX_DAYS
from app.web.errors import PageRoute
from app.web.forms import check_script, read_form
from app.web.live_acceptance import LiveAcceptance
from app.web.rendering import HEADERS, fragment, page
from app.web.site_form import SiteReader
from app.web.strings import t
from model_zoo.acceptance import MAX_PATCHES, MIN_OF_A_LABEL, MIN_PATCHES, Rule, rule_of
from model_zoo.basis import Basis
from model_zoo.manifest import Metric
from model_zoo.verdict_acceptance import verdict_rule

router = APIRouter(prefix="/acceptance", include_in_schema=False, route_class=PageRoute)

NoParameters = Annotated[None, Depends(KnownParameters())]
WhichModel = Annotated[None, Depends(KnownParameters("model"))]
TheServices = Annotated[Services, Depends(services_of)]


@router.get("")
async def list_acceptance(
    request: Request, caller: MayAdminister, _: WhichModel, services: TheServices, model: str = ""
) -> Response:
    return await _list_page(request, services, model)


async def _list_page(request: Request, services: Services, model: str, wrong: str = "", status: int = 200) -> Response:
    def read() -> dict[str, Any]:
        entries, active = services.registry.listing()
        wanted = model or (active.model_id if active else "")
        chosen = services.registry.find(wanted) if wanted else None
        rule = _rule(chosen, rule_of) if chosen else None
        names = {entry.id: t("model.title", name=entry.name, version=entry.version) for entry in entries}
        return {
            "found": services.acceptances.listing(),
            "names": names,
            "choices": {entry.id: names[entry.id] for entry in entries if entry.retired_at is None},
            "active": active.model_id if active else "",
            "chosen": chosen,
            "rule": rule if rule and not rule.fault else None,
            "verdict_rule": _rule(chosen, verdict_rule) if chosen else None,
            "fault": rule.fault if rule else services.model_error,
        }

    bounds = (MIN_PATCHES, MAX_PATCHES, MIN_OF_A_LABEL)
    context = await services.io.run(read)
    verdicts = {"days": DAYS, "most_days": MAX_DAYS, "wrong": wrong}
    return page(request, "acceptance_list.html", status, bounds=bounds, **verdicts, **context)


@router.post("")
async def run_acceptance(
    request: Request, caller: MayAdminister, _: WhichModel, services: TheServices, model: str
) -> Response:
    """Lines of the page: the progress, refused files, and the outcome."""
    check_script(request)
    reader = SiteReader(services.settings.max_body_bytes, services.settings.upload_timeout_s)
    try:
        reader.check_headers(request)
        services.acceptance_runs.check_free()
    except Problem as problem:
        return fragment("_site_ended.html", problem=problem)
    return LiveAcceptance(services, model, reader, request, caller.actor)


@router.post("/verdicts")
async def run_on_verdicts(
    request: Request, caller: MayAdminister, _: WhichModel, services: TheServices, model: str
) -> Response:
    """Tests a model on people's verdicts, and leads to the report."""
    form = await read_form(request, services.settings.body_timeout_s, "days", "site")
    days = int(form["days"]) if re.fullmatch(r"[0-9]{1,4}", form["days"]) else 0
    if not 1 <= days <= MAX_DAYS:
        return await _list_page(request, services, model, t("acceptance.days.wrong", most=MAX_DAYS), 422)

    def run() -> str:
        found, _report = services.verdict_test.run(
            services.serving.borrow(model), days, form["site"].strip(), caller.actor
        )
        return found.id

    try:
        found = await to_thread.run_sync(run, limiter=services.counting)
    except (NoVerdictTest, ModelUnusable) as problem:
        return await _list_page(request, services, model, problem.detail, problem.status)
    return RedirectResponse(f"/acceptance/{found}", 303, headers=HEADERS)


def _rule(entry: ModelEntry, rule: Callable[[Sequence[Metric], Basis], Rule]) -> Rule:
    manifest = json.loads(entry.manifest)
    return rule(metrics_of(manifest), "orbit" if manifest.get("orbit") else "single")


@router.get("/{acceptance_id}")
async def one_acceptance(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, acceptance_id: str
) -> Response:
    found, report = await services.io.run(partial(services.acceptances.find, acceptance_id))
    entries, _active = await services.io.run(services.registry.listing)
    return page(
        request,
        "acceptance.html",
        report=report,
        known=any(entry.id == found.model_sha256 for entry in entries),
        tested_at=found.tested_at,
        tested_by=found.tested_by,
    )
