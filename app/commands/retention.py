"""``rosette retention``."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.database import shell_actor, the_database
from app.commands.errors import readable_errors
from app.records.audit import AuditTrail
from app.records.clock import ClockJumpedError
from app.records.retention import Retention
from app.settings import Settings


def retention(
    confirm_clock: Annotated[bool, typer.Option("--confirm-clock", help="Confirm that the clock is right.")] = False,
) -> None:
    """Show how long predictions are kept, and whether the clock is trusted; exits with 1 if it is not."""
    with readable_errors():
        settings = Settings()
        database = the_database()
        kept = Retention(database, AuditTrail(database), settings.retention_days)
        if confirm_clock:
            kept.confirm_clock(shell_actor())
        days = settings.retention_days
        kept_for = f"{days} day{'s' * (days > 1)}" if days else "an unlimited time"
        typer.echo(f"Predictions are kept for {kept_for}.")
        try:
            kept.check_clock()
        except ClockJumpedError as error:
            raise ValueError(f"nothing is deleted: {error}") from error
        typer.echo("The clock is trusted.")
