"""``/admin/webhook/test``: does the receiver take webhooks?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app import problems
from app.access.dependencies import MayAdminister
from app.api import errors
from app.api.query import KnownParameters
from app.services import Services, services_of

router = APIRouter(prefix="/admin/webhook", tags=["webhooks"])


class WebhookTest(BaseModel):
    delivered: bool
    reason: str = Field(description="Why it was not delivered; empty if it was.")
    host: str = Field(description="Host and port that it was sent to.")


@router.post(
    "/test",
    summary="Send a test event",
    responses=errors.responses(*problems.ALWAYS, problems.NoWebhook, problems.TooSoon),
)
async def send_test_webhook(
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> WebhookTest:
    """One event of type `test` is sent at once, by this server, and not again; at most one in ten seconds."""
    found = await services.webhook_check.run(caller.actor)
    return WebhookTest(delivered=found.delivered, reason=found.reason, host=found.host)
