"""``rosette keys``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.access.keys import Keys, Role
from app.commands.errors import readable_errors
from app.records.database import open_database
from app.records.migrations import migrate
from app.settings import Settings

keys = typer.Typer(help="Make, list and revoke the server's keys.", no_args_is_help=True)


@keys.command("add")
def add_key(
    role: Annotated[Role, typer.Option(help="What the key may do.")] = Role.PREDICT,
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "",
) -> None:
    """Make a key and print it; it is shown this once."""
    with readable_errors():
        typer.echo(_keys().add(role, name))


@keys.command("list")
def list_keys() -> None:
    """List the keys' ids, roles and names."""
    with readable_errors():
        table = Table("id", "role", "name", "made", "revoked")
        for key in _keys().listing():
            table.add_row(key.id, key.role, key.name, _time(key.created_at), _time(key.revoked_at))
        Console().print(table)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The 12 characters after rsk_.")]) -> None:
    """Make a key worthless at once."""
    with readable_errors():
        if not _keys().revoke(key_id):
            raise ValueError(f"there is no valid key {key_id}: `rosette keys list` shows them")


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _keys() -> Keys:
    settings = Settings()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.sqlalchemy_url())
    migrate(database)
    return Keys(database)
