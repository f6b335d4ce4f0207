"""The prediction log: all recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, Row, delete, insert, select

from app.diagnosis.past import current
from app.problems import RecordsUnavailable
from app.records.database import transaction
from app.records.entry import Recorded
from app.records.filters import EVERYTHING, Filter, Scope
from app.records.idempotency import Repeatable, first_answer
from app.records.journal import check_writable as check_room
from app.records.tables import keys, patches, predictions, verdicts

PROBE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Page:
    """Answers as JSON in the current format, newest first, and the id to continue after, None on the last page."""

    answers: list[str]
    next: str | None


@dataclass(frozen=True)
class StoredPatch:
    """The image file behind a prediction: ``"PNG"``, ``"JPEG"`` or ``"TIFF"``, and its bytes, None if not stored."""

    format: str
    data: bytes | None


class PredictionLog:
    """Reads recorded answers.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def first_answer(self, request: Repeatable) -> Recorded | None:
        """The answer to the first such request; None if this is the first.

        Raises:
            IdempotencyMismatch: if that was another request.
        """
        with transaction(self._engine) as connection:
            text = first_answer(connection, request)
        return None if text is None else Recorded(text, replayed=True)

    def find(self, prediction_id: UUID, scope: Scope | None = None) -> str | None:
        """The recorded answer's JSON in the current format, or None; ``scope`` restricts it."""
        query = select(predictions.c.answer).where(predictions.c.id == str(prediction_id))
        if scope is not None:
            query = query.where(scope.condition())
        with transaction(self._engine) as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else current(text)

    def patch(self, prediction_id: UUID, scope: Scope | None = None) -> StoredPatch | None:
        """The image file of a prediction, None if there is no such prediction; ``scope`` as in :meth:`find`."""
        query = select(predictions.c.patch_format, patches.c.data).where(predictions.c.id == str(prediction_id))
        if scope is not None:
            query = query.where(scope.condition())
        with transaction(self._engine) as connection:
            row = connection.execute(query.select_from(predictions.outerjoin(patches))).one_or_none()
        if row is None:
            return None
        return StoredPatch("PNG" if row.patch_format == "RAW" else row.patch_format, row.data)

    def page(self, limit: int, wanted: Filter = EVERYTHING, cursor: str | None = None) -> Page:
        """At most ``limit`` answers older than ``cursor``, newest first."""
        rows = self.rows((predictions.c.id, predictions.c.answer), limit + 1, wanted, cursor)
        shown = rows[:limit]
        return Page([current(row.answer) for row in shown], shown[-1].id if len(rows) > limit else None)

    def rows(
        self, columns: Sequence[ColumnElement[Any]], limit: int, wanted: Filter, cursor: str | None = None
    ) -> Sequence[Row[Any]]:
        """Columns of at most ``limit`` predictions older than ``cursor``, newest first; also of key and verdict."""
        joined = predictions.outerjoin(keys, keys.c.id == predictions.c.key_id)
        joined = joined.outerjoin(verdicts, verdicts.c.prediction_id == predictions.c.id)
        query = select(*columns).select_from(joined).where(*wanted.conditions(before=cursor))
        query = query.order_by(predictions.c.id.desc()).limit(limit)
        with transaction(self._engine) as connection:
            return connection.execute(query).all()


def check_writable(engine: Engine, size: int = PROBE_BYTES) -> None:
    """Commit a transaction that writes and deletes a row of this size.

    SQLite could do this in free pages on a full disk: therefore the same size must also be free on the disk.

    Raises:
        RecordsUnavailable: if the database fails, or the disk is full.
    """
    probe = {"id": f"-{token_hex(8)}", "answer": token_hex(size // 2)}
    with transaction(engine) as connection:
        connection.execute(insert(predictions), _PROBE | probe)
        connection.execute(delete(predictions).where(predictions.c.id == probe["id"]))
    if engine.dialect.name == "sqlite":
        assert engine.url.database is not None
        try:
            check_room(Path(engine.url.database).parent, size)
        except OSError as error:
            raise RecordsUnavailable(
                f"The disk of the database is full ({error.strerror or error}), so nothing was answered."
            ) from error


_VALUES = {str: "-", float: 0.0, bool: False, datetime: datetime(2000, 1, 1, tzinfo=UTC)}
_PROBE = {column.name: _VALUES[column.type.python_type] for column in predictions.columns}
