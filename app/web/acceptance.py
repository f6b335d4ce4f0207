"""``/acceptance``: acceptance tests of models on the site's own patches."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.access.dependencies import MayAdminister
from app.api.query import KnownParameters
from app.problems import Problem
from app.records.models import ModelEntry
from app.registry.advice import metrics_of
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import check_script
from app.web.live_acceptance import LiveAcceptance
from app.web.rendering import fragment, page
from app.web.site_form import SiteReader
from app.web.strings import t
from model_zoo.acceptance import MAX_PATCHES, MIN_OF_A_LABEL, MIN_PATCHES, Rule, rule_of

router = APIRouter(prefix="/acceptance", include_in_schema=False, route_class=PageRoute)

NoParameters = Annotated[None, Depends(KnownParameters())]
WhichModel = Annotated[None, Depends(KnownParameters("model"))]
TheServices = Annotated[Services, Depends(services_of)]


@router.get("")
async def list_acceptance(
    request: Request, caller: MayAdminister, _: WhichModel, services: TheServices, model: str = ""
) -> Response:
    def read() -> dict[str, Any]:
        entries, active = services.registry.listing()
        wanted = model or (active.model_id if active else "")
        chosen = services.registry.find(wanted) if wanted else None
        rule = _rule(chosen) if chosen else None
        names = {entry.id: t("model.title", name=entry.name, version=entry.version) for entry in entries}
        return {
            "found": services.acceptances.listing(),
            "names": names,
            "choices": {entry.id: names[entry.id] for entry in entries if entry.retired_at is None},
            "active": active.model_id if active else "",
            "chosen": chosen,
            "rule": rule if rule and not rule.fault else None,
            "fault": rule.fault if rule else services.model_error,
        }

    bounds = (MIN_PATCHES, MAX_PATCHES, MIN_OF_A_LABEL)
    return page(request, "acceptance_list.html", bounds=bounds, **await services.io.run(read))


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


def _rule(entry: ModelEntry) -> Rule:
    manifest = json.loads(entry.manifest)
    return rule_of(metrics_of(manifest), "orbit" if manifest.get("orbit") else "single")


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
