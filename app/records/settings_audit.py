"""Records the settings of a start in the audit trail."""

from __future__ import annotations

import json
from typing import Any

from app.records.audit import SERVER, AuditRow, AuditTrail, Event
from app.records.database import without_password
from app.settings import Settings
from app.version import version

ACTION = "settings.start"


def in_force(settings: Settings) -> dict[str, Any]:
    """The settings and Rosette's version as JSON; of secrets only whether they are set."""
    database_url = without_password(settings.sqlalchemy_url())
    return {"version": version()} | settings.model_dump(mode="json") | {"database_url": database_url}


def record_settings(trail: AuditTrail, settings: Settings) -> AuditRow | None:
    """Append the settings, unless they equal the last recorded ones.

    Raises:
        RecordsUnavailable: if the database fails.
    """
    after = in_force(settings)
    with trail.transaction() as connection:
        last = trail.last(connection, ACTION)
        before = json.loads(last.after) if last and last.after else None
        if before == after:
            return None
        return trail.append(connection, SERVER, Event(ACTION, "server", before, after))
