"""``rosette audit``."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import inspect

from app.commands.errors import readable_errors
from app.records.audit import AuditRow, AuditTrail, TrailHead
from app.records.database import open_database, without_password
from app.records.tables import audit as table
from app.settings import Settings
from model_zoo.listing import AsJson, show_json

audit = typer.Typer(help="Read and verify the audit trail.", no_args_is_help=True)


@audit.command("verify")
def verify_trail(
    head: Annotated[str, typer.Option(metavar="NUMBER:HASH", help="Head that was kept elsewhere, NUMBER:HASH.")] = "",
) -> None:
    """Verify the whole trail; exits with 1 and names the first broken row if there is one."""
    with readable_errors():
        given = TrailHead.parse(head) if head else None
        found = _trail().verify(given)
    if found.broken:
        typer.echo(f"The audit trail is broken: {found.broken}. Valid rows before it: {found.rows}.")
        raise typer.Exit(1)
    typer.echo(f"The audit trail is complete. Rows: {found.rows}.")
    if given is None:
        typer.echo("Removed last rows cannot be detected without --head: pass one from the log, or one that you kept.")


@audit.command("head")
def print_head() -> None:
    """Print NUMBER:HASH of the last row; keep it elsewhere and pass it to verify."""
    with readable_errors():
        head = _trail().head()
        if head is None:
            raise ValueError("the audit trail is empty")
        typer.echo(str(head))


@audit.command("list")
def list_rows(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 50, as_json: AsJson = False
) -> None:
    """Print the newest rows, newest first."""
    with readable_errors():
        entries = _trail().page(limit).entries
    if as_json:
        show_json(entries)
        return
    for entry in entries:
        typer.echo(_lines(entry))


def _lines(entry: AuditRow) -> str:
    origin = f"{entry.who} at {entry.address}" if entry.address else entry.who
    lines = [f"{entry.number}  {entry.at}  {origin}  {entry.action} {entry.subject}"]
    sides = (("before", entry.before), ("after ", entry.after))
    lines += [f"    {side} {text}" for side, text in sides if text is not None]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """The line without control characters, which a name may contain."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def _trail() -> AuditTrail:
    """The trail, without a migration, so that a database without its triggers can be inspected.

    Raises:
        ValueError: if the database has none.
    """
    url = Settings().sqlalchemy_url()
    database = open_database(url, connections=1)
    if not inspect(database).has_table(table.name):
        raise ValueError(
            f"{without_password(url)} has no audit trail: set ROSETTE_HOME or ROSETTE_DATABASE_URL as for the server"
        )
    return AuditTrail(database)
