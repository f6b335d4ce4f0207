"""``rosette keys``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.access.caller import Role
from app.access.keys import Keys
from app.access.people import People
from app.access.rotation import MAX_DAYS, KeyRotation
from app.commands.database import shell_actor, the_database
from app.commands.errors import readable_errors
from app.records.audit import AuditTrail
from app.settings import Settings
from model_zoo.listing import AsJson, show, show_json

keys = typer.Typer(help="Create, list and revoke the server's keys, and disable people.", no_args_is_help=True)


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Option(help="Person or machine that the key is for; the audit trail shows it.")],
    role: Annotated[Role, typer.Option(help="Role of the key.")] = Role.PREDICT,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until the key expires; by default it never expires.")
    ] = None,
) -> None:
    """Create a key and print it; it is shown only once."""
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    with readable_errors():
        typer.echo(_keys().add(role, name, shell_actor(), expires_at).key)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, and the people who sign in at an identity provider: ids, roles, names and times (UTC)."""
    with readable_errors():
        found = _keys().listing()
    if as_json:
        names = ["id", "role", "name", "created_at", "expires_at", "last_used_at", "revoked_at"]
        names += ["issuer", "subject", "signed_in_at"]
        show_json([{name: getattr(key, name) for name in names} for key in found])
        return
    rows = [
        (key.id, key.role, key.name, key.created_at, key.expires_at, key.last_used_at, key.revoked_at) for key in found
    ]
    titles = ("id", "role", "name", "made", "expires", "last used", "revoked")
    if any(key.issuer for key in found):
        show((*titles, "issuer"), [(*row, key.issuer) for row, key in zip(rows, found, strict=True)])
    else:
        show(titles, rows)


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The id in the list: of a key the 12 characters after rsk_.")],
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="Days for which the old key is still valid.")] = 7,
) -> None:
    """Create a key that replaces another, and print it; the old one ends after some days."""
    with readable_errors():
        database = the_database()
        trail = AuditTrail(database)
        rotation = KeyRotation(trail, Keys(database, trail, Settings().read_admin_key()))
        typer.echo(rotation.rotate(key_id, days, shell_actor()).key)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The id in the list: of a key the 12 characters after rsk_.")],
) -> None:
    """Revoke a key, or disable a person; a server that has just seen it accepts it for up to 60 more seconds."""
    with readable_errors():
        _keys().revoke(key_id, shell_actor())


@keys.command("enable")
def enable_person(person_id: Annotated[str, typer.Argument(help="The id that the list shows.")]) -> None:
    """Let a disabled person sign in again at the identity provider; keys stay revoked."""
    with readable_errors():
        database = the_database()
        trail = AuditTrail(database)
        People(trail, Keys(database, trail)).enable(person_id, shell_actor())


def _keys() -> Keys:
    database = the_database()
    return Keys(database, AuditTrail(database), Settings().read_admin_key())
