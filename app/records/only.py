"""One server for each SQLite file: two would each believe that no other process journals, migrates or answers."""

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
    """Hold the lock that says that a server works on this database; any number may work on one of PostgreSQL.

    The lock is on a file beside the database's own, and ends with the process, however that ends.

    Raises:
        ValueError: if another server works on it.
        OSError: if the file cannot be made.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        yield
        return
    database = Path(parsed.database).resolve()
    if not database.parent.is_dir():  # a mistyped path is refused when the database is opened, not made
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
