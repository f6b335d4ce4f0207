"""The settings' database, for commands that run on the server's machine."""

from __future__ import annotations

import os
import pwd

from sqlalchemy import Engine

from app.records.audit import Actor
from app.records.database import open_database
from app.records.migrations import migrate
from app.settings import Settings


def the_database() -> Engine:
    """The database that the settings name, migrated; its folder is created when missing."""
    settings = Settings()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.sqlalchemy_url())
    migrate(database)
    return database


def shell_actor() -> Actor:
    """The user who runs the command, by the operating system's name."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, an account may have no name
        user = str(os.getuid())
    return Actor(f"shell:{user}")
