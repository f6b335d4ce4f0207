"""Connections whose commits are on the disk when they return."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from app.problems import RecordsUnavailable

BUSY_TIMEOUT_S = 5
WRITE_FIRST = {"sqlite_begin": "BEGIN IMMEDIATE"}


def open_database(url: str, connections: int = 8) -> Engine:
    """An engine for SQLite (WAL, ``synchronous=FULL``) or PostgreSQL (``synchronous_commit=on``).

    Args:
        url: an SQLAlchemy URL.
        connections: maximum number of open connections.

    Raises:
        ValueError: if the URL is invalid, or names another kind of database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("ROSETTE_DATABASE_URL is not a SQLAlchemy URL, such as postgresql://user@host/name") from error
    backend = parsed.get_backend_name()
    connect: dict[str, Any]
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or "mode" in parsed.query:
            raise ValueError("ROSETTE_DATABASE_URL names an SQLite database without a file: records would be lost")
        connect = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    elif backend == "postgresql":
        connect = {"connect_timeout": BUSY_TIMEOUT_S, "options": "-c synchronous_commit=on"}
    else:
        raise ValueError(f"ROSETTE_DATABASE_URL names {backend}, expected sqlite or postgresql")
    engine = create_engine(
        parsed,
        connect_args=connect,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=backend == "postgresql",
    )
    if backend == "sqlite":
        event.listen(engine, "do_connect", partial(_keep_private, parsed.database or ""))
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def without_password(url: str) -> str:
    """The URL without its password."""
    parsed = make_url(url).set(password=None)
    secrets = [name for name in parsed.query if "password" in name.lower()]
    return parsed.difference_update_query(secrets).render_as_string()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction, committed when the block ends.

    Raises:
        RecordsUnavailable: if the database fails, is unavailable, or is locked for too long.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> RecordsUnavailable:
    """The problem for an error of SQLAlchemy's or of the driver's, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return RecordsUnavailable(f"The database failed ({type(cause).__name__}), so nothing was answered: try again.")


def refuses_for_good(problem: RecordsUnavailable) -> bool:
    """Whether the database answered that it will never take these rows."""
    cause = problem.__cause__
    error = getattr(cause, "orig", None) or cause
    # Both drivers name their errors as PEP 249 does.
    return any(kind.__name__ in {"DataError", "IntegrityError"} for kind in type(error).__mro__)


def _keep_private(path: str, *_: Any) -> None:
    """Make the file readable only for its owner; SQLite gives its other files the same mode."""
    if path.startswith("file:"):
        return
    # Never open an existing file: closing it would release the locks that SQLite holds in this process.
    with suppress(OSError):  # SQLite reports an invalid path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for each in map(Path, (path, f"{path}-wal", f"{path}-shm")):
        with suppress(OSError):  # of another user, or missing
            if stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(0o600)


def _configure_sqlite(connection: Any, _: Any) -> None:
    # The driver's transactions begin late and commit around DDL; "begin" below begins them instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
