"""``rosette audit``."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import inspect

from app.commands.errors import readable_errors
from app.records.audit import AuditTrail, Entry, Head
from app.records.database import open_database, without_password
from app.records.tables import audit as table
from app.settings import Settings

audit = typer.Typer(help="Read and verify the audit trail; changes nothing.", no_args_is_help=True)


@audit.command("verify")
def verify_trail(
    head: Annotated[str, typer.Option(metavar="NUMBER:HASH", help="A head that was kept elsewhere.")] = "",
) -> None:
    """Walk the whole trail; exits with 1 and names the first broken link if there is one."""
    with readable_errors():
        given = Head.parse(head) if head else None
        found = _trail().verify(given)
    if found.broken:
        typer.echo(f"The audit trail is broken: {found.broken}. Rows before that fit: {found.rows}.")
        raise typer.Exit(1)
    typer.echo(f"The audit trail is whole. Rows: {found.rows}.")
    if given is None:
        typer.echo("A cut tail cannot be found without --head: name one that the server logged, or that you kept.")


@audit.command("head")
def print_head() -> None:
    """Print NUMBER:HASH of the last row, to be kept elsewhere and given to verify."""
    with readable_errors():
        head = _trail().head()
        if head is None:
            raise ValueError("the audit trail has no row yet")
        typer.echo(str(head))


@audit.command("list")
def list_rows(limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 50) -> None:
    """Print the newest rows, newest first."""
    with readable_errors():
        for entry in _trail().page(limit).entries:
            typer.echo(_lines(entry))


def _lines(entry: Entry) -> str:
    origin = f"{entry.who} at {entry.address}" if entry.address else entry.who
    lines = [f"{entry.number}  {entry.at}  {origin}  {entry.action} {entry.subject}"]
    sides = (("before", entry.before), ("after ", entry.after))
    lines += [f"    {side} {text}" for side, text in sides if text is not None]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """The line without characters that would steer the terminal, which a name may hold."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def _trail() -> AuditTrail:
    """The trail as it is: without migrating, so that a database whose triggers are gone can be looked at.

    Raises:
        ValueError: if the database holds none.
    """
    url = Settings().sqlalchemy_url()
    database = open_database(url, connections=1)
    if not inspect(database).has_table(table.name):
        raise ValueError(
            f"{without_password(url)} holds no audit trail: set ROSETTE_HOME or ROSETTE_DATABASE_URL as for the server"
        )
    return AuditTrail(database)
