"""``/acceptance``: acceptance tests of models on the site's own patches."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.access.dependencies import MayAdminister
from app.api.query import KnownParameters
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.rendering import page
from app.web.strings import t
from model_zoo.acceptance import rule_for

router = APIRouter(prefix="/acceptance", include_in_schema=False, route_class=PageRoute)

NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]


@router.get("")
async def list_acceptance(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    def read() -> dict[str, Any]:
        entries, _ = services.registry.listing()
        names = {entry.id: t("model.title", name=entry.name, version=entry.version) for entry in entries}
        return {"found": services.acceptances.listing(), "names": names}

    model = services.serving.state.model
    rule = rule_for(model.manifest) if model else None
    active = model.manifest if model else None
    return page(
        request,
        "acceptance_list.html",
        rule=rule if rule and not rule.fault else None,
        active=active,
        **await services.io.run(read),
    )


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
