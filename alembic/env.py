"""Run migrations on the connection of the starting server, else on the settings' database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from app.records.database import open_database
from app.records.tables import metadata
from app.settings import Settings


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    with open_database(Settings().sqlalchemy_url()).begin() as own:
        run(own)
