"""``GET /metrics``: the server's figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app import problems
from app.access.dependencies import MayMeasure
from app.api import errors
from app.api.query import KnownParameters
from app.metrics import MEDIA_TYPE
from app.services import Services, services_of

router = APIRouter(tags=["metrics"])


def limiter_of(request: Request) -> CapacityLimiter:
    """One thread of its own, so that busy workers do not hide that they are busy."""
    limiter: CapacityLimiter = request.app.state.scrapes
    return limiter


@router.get(
    "/metrics",
    summary="The server's figures",
    response_class=Response,
    responses=errors.responses(*problems.ALWAYS) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(
    _caller: MayMeasure,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    limiter: Annotated[CapacityLimiter, Depends(limiter_of)],
) -> Response:
    """In Prometheus' text format 0.0.4."""
    content = await to_thread.run_sync(services.metrics.text, limiter=limiter)
    return Response(content, headers={"Content-Type": MEDIA_TYPE})
