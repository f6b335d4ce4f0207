"""``rosette test-webhook``."""

from __future__ import annotations

import asyncio

import typer

from app.commands.database import shell_actor, the_database
from app.commands.errors import readable_errors
from app.problems import NoWebhook
from app.records.audit import AuditTrail
from app.settings import Settings
from app.webhooks.check import NOT_SET, WebhookCheck


def test_webhook() -> None:
    """Send a test event to the webhook that the settings name, and say whether it was delivered.

    Exits with 0 if it was, with 1 if it was not.
    """
    with readable_errors():
        to = Settings().webhook_target()
        if to is None:
            raise NoWebhook(NOT_SET)
        found = asyncio.run(WebhookCheck(to, AuditTrail(the_database())).run(shell_actor()))
    if not found.delivered:
        typer.echo(f"The test event was not delivered to {found.host}: {found.reason}.", err=True)
        raise typer.Exit(1)
    typer.echo(f"The test event was delivered to {found.host}.")
