"""Migrates the database to this version, once, also if several servers start at the same time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from app.records.database import WRITE_FIRST
from app.version import version

_LOCK = 0x526F7365747465  # "Rosette": one advisory lock for all servers of a PostgreSQL database

TRIGGERS = {
    "sqlite": {"audit_update", "audit_delete", "audit_replace"},
    "postgresql": {"audit_change", "audit_truncate"},
}
_FIND_TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('audit') AND tgenabled IN ('O', 'A')",
}


class UnprotectedTrailError(ValueError):
    """The database does not protect the audit trail."""


class NewerDatabaseError(ValueError):
    """The database has been migrated by a later version of this program."""


def scripts() -> Path:
    """The folder of the migrations: in the package of a wheel, at the top of a checkout."""
    installed = Path(__file__).with_name("alembic")
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "alembic"


def newest(folder: Path) -> str:
    """The last revision in a folder of migrations, by the files' names, which begin with it."""
    return max(file.stem.partition("_")[0] for file in (folder / "versions").glob("*.py"))


def migrate(engine: Engine, folder: Path | None = None) -> None:
    """Run the missing migrations in one transaction under a lock that other servers wait for.

    Args:
        engine: the database.
        folder: the migrations; by default those of this version.

    Raises:
        SQLAlchemyError: if the database cannot be reached or changed.
        NewerDatabaseError: if a later version has migrated the database.
        UnprotectedTrailError: if the audit trail's triggers are missing afterwards; then nothing is migrated.
    """
    folder = folder or scripts()
    with engine.execution_options(**WRITE_FIRST).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = _revisions(connection)
        if found != [newest(folder)]:
            _upgrade(connection, folder, found)
        check_triggers(connection)


def _revisions(connection: Connection) -> list[str]:
    """What Alembic wrote down in the database; empty if it never migrated it."""
    if not inspect(connection).has_table("alembic_version"):
        return []
    return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _upgrade(connection: Connection, folder: Path, found: list[str]) -> None:
    # Importing Alembic takes a fifth of a second, and a command on a database of this version does not need it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = ScriptDirectory.from_config(config)
    if unknown := set(found) - {script.revision for script in known.walk_revisions()}:
        raise NewerDatabaseError(
            f"the database has the tables of a newer Rosette (revision {max(unknown)}; this one, {version()}, knows "
            f"them up to {known.get_current_head()}): install that version again, or restore a backup of the version "
            "before"
        )
    command.upgrade(config, "head")


def check_triggers(connection: Connection) -> None:
    """Check that the database refuses changes of the audit trail.

    Raises:
        UnprotectedTrailError: with the triggers that are missing or disabled.
    """
    dialect = connection.dialect.name
    missing = TRIGGERS[dialect] - set(connection.execute(text(_FIND_TRIGGERS[dialect])).scalars())
    if missing:
        raise UnprotectedTrailError(
            f"the table audit lacks its triggers {', '.join(sorted(missing))}, so rows could be changed or removed: "
            "find out how they were dropped, run `rosette audit verify --head` with the last head in the server's log, "
            "and create them again as migration 0002 does"
        )
