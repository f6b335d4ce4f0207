"""Bring the database to the tables of this version, once, however many servers start at the same time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from app.records.database import WRITE_FIRST

_LOCK = 0x526F7365747465  # "Rosette": one advisory lock for all servers of a PostgreSQL database


def scripts() -> Path:
    """The migrations: inside the package in an installed wheel, at the top of a checkout."""
    installed = Path(__file__).with_name("alembic")
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "alembic"


def migrate(engine: Engine) -> None:
    """Run the missing migrations in one transaction under a lock that other servers wait for.

    Raises:
        SQLAlchemyError: if the database cannot be reached or changed.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    with engine.execution_options(**WRITE_FIRST).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
