"""``/audit``: the audit trail and its verification."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.access.dependencies import MayAdminister
from app.api.audit import MAX_NUMBER, Part
from app.api.query import KnownParameters
from app.problems import InvalidParameter
from app.records.audit import AuditFilter, TrailHead
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.rendering import page

PAGE_SIZE = 50

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/audit")
async def audit_page(
    request: Request,
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters("cursor", "verify", "head", "action", "who", "subject"))],
    services: Annotated[Services, Depends(services_of)],
    cursor: Annotated[int | None, Query(ge=1, le=MAX_NUMBER)] = None,
    verify: str = "",
    head: str = "",
    action: Part = "",
    who: Part = "",
    subject: Part = "",
) -> Response:
    found = None
    if verify:
        try:
            given = TrailHead.parse(head.strip()) if head.strip() else None
        except ValueError as error:
            raise InvalidParameter(f"{error}.") from error
        found = await services.io.run(partial(services.audit.verify, given))
    wanted = AuditFilter(action.strip(), who.strip(), subject.strip())
    entries = await services.io.run(partial(services.audit.page, PAGE_SIZE, cursor, wanted))
    query = urlencode({name: value for name, value in vars(wanted).items() if value})
    context: dict[str, Any] = {"entries": entries, "cursor": cursor, "found": found, "head": head.strip()}
    return page(request, "audit.html", wanted=wanted, query=query, **context)
