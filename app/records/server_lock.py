"""Permits one server per SQLite file; two servers would interfere in migrations, journal and answers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

SUFFIX = ".server"


@contextmanager
def only_server(url: str) -> Iterator[None]:
    """Hold the server lock of an SQLite database; PostgreSQL supports any number of servers.

    The lock is on a file beside the database, and ends with the process.

    Raises:
        ValueError: if another server uses the database.
        OSError: if the file cannot be created.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        yield
        return
    database = Path(parsed.database).resolve()
    if not database.parent.is_dir():  # a wrong path is refused when the database is opened, not created
        yield
        return
    descriptor = os.open(f"{database}{SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            raise ValueError(
                f"another server (process {holder or 'unknown'}) uses the database {database}: stop it, give this "
                "one another ROSETTE_HOME, or use PostgreSQL, which supports any number of servers"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
