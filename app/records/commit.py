"""How answers are committed: plain rows through the driver itself, what may be a repeat through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Table, insert
from sqlalchemy.exc import SQLAlchemyError

from app.problems import IdempotencyMismatch
from app.records.database import unavailable
from app.records.entry import LogEntry, Recorded, insert_new
from app.records.tables import patches, predictions

ROWS_IN_A_STATEMENT = 16  # 528 parameters; the driver keeps 128 statements prepared

Row = dict[str, Any]

_request_of = attrgetter("request")


class Committer:
    """Commits entries, on a connection that is kept: to fetch one from the pool costs as much as several rows.

    SQLAlchemy's way from a transaction to the driver costs more than the database does. So the rows of entries that are
    no repeats go straight to the driver's connection, which SQLAlchemy has configured: the commit is on the disk when
    it returns, as everywhere. For one thread.

    Args:
        engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        assert engine.dialect.dbapi is not None
        self._error: type[Exception] = engine.dialect.dbapi.Error

    def commit(self, entries: Sequence[LogEntry]) -> list[Recorded | IdempotencyMismatch]:
        """Insert entries in one transaction; gives what each request gets.

        Raises:
            RecordsUnavailable: if the database fails; its cause is SQLAlchemy's error or the driver's.
        """
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            if any(map(_request_of, entries)):
                with self._connection.begin():
                    return insert_new(self._connection, entries)
            return _insert_plain(self._connection, entries)
        except SQLAlchemyError as error:
            self.close()
            raise unavailable(error) from error
        except self._error as error:
            self._give_up()
            raise unavailable(error) from error

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, self._error):
                connection.close()

    def _give_up(self) -> None:
        """Close a connection for good: SQLAlchemy does not know in which state its driver's is."""
        if self._connection is not None:
            with suppress(SQLAlchemyError, self._error):
                self._connection.invalidate()
        self.close()


def _insert_plain(connection: Connection, entries: Sequence[LogEntry]) -> list[Recorded | IdempotencyMismatch]:
    driver: Any = connection.connection.dbapi_connection
    sqlite = connection.dialect.name == "sqlite"
    statement, parameters_of = _insertion(connection.dialect, predictions)
    rows, images = [], []
    recorded: list[Recorded | IdempotencyMismatch] = []
    for entry in entries:
        moment = entry.values["created_at"].astimezone(UTC)
        if sqlite:  # as SQLAlchemy stores it
            moment = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
        rows.append(parameters_of({**entry.values, "created_at": moment}))
        recorded.append(Recorded(entry.values["answer"]))
        if entry.patch is not None:
            images.append({"prediction_id": entry.values["id"], "data": entry.patch})
    cursor = driver.cursor()
    try:
        if sqlite and not images and len(rows) <= ROWS_IN_A_STATEMENT:
            cursor.execute(_of_many(statement, len(rows)), list(chain.from_iterable(rows)))
            cursor.close()
            return recorded
        if sqlite:
            cursor.execute("BEGIN IMMEDIATE")  # psycopg begins by itself
        cursor.executemany(statement, rows)
        if images:
            statement, parameters_of = _insertion(connection.dialect, patches)
            cursor.executemany(statement, list(map(parameters_of, images)))
        driver.commit()
    except Exception:
        cursor.close()
        driver.rollback()  # here: closed while the error still refers to the cursor, SQLite would keep its lock
        raise
    cursor.close()
    return recorded


@cache
def _insertion(dialect: Dialect, table: Table) -> tuple[str, Callable[[Row], Any]]:
    """A statement, and what makes its parameters of a row: beside times, the driver knows text, numbers and bytes."""
    compiled = insert(table).compile(dialect=dialect)
    return str(compiled), itemgetter(*compiled.positiontup) if compiled.positiontup else dict


@cache
def _of_many(statement: str, rows: int) -> str:
    """An insertion of so many rows, which is a transaction by itself.

    The driver lets go of Python's lock for each statement, and waits for the event loop to get it back.
    """
    into, word, values = statement.partition(" VALUES ")
    return into + word + ", ".join([values] * rows)
