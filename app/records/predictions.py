"""The prediction log: every answer that left, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, insert, select

from app.diagnosis.orbit import Rotations
from app.diagnosis.report import Answer
from app.records.database import transaction
from app.records.tables import predictions


@dataclass(frozen=True)
class Page:
    """Answers as JSON, newest first, and the id to continue after, None on the last page."""

    answers: list[str]
    next: str | None


class PredictionLog:
    """Writes and reads recorded answers.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, answer: Answer, rotations: Rotations, key_id: str) -> str:
        """Commit an answer; gives the JSON that was recorded, which is what may leave."""
        text = answer.model_dump_json()
        row = {
            "id": str(answer.id),
            "created_at": answer.created_at,
            "key_id": key_id,
            "model_name": answer.model.name,
            "model_version": answer.model.version,
            "model_sha256": answer.model.sha256,
            "patch_sha256": answer.patch.sha256,
            "patch_format": answer.patch.format,
            "rotations": rotations.value,
            "label": answer.label,
            "probability": answer.probability,
            "decision": answer.decision,
            "logit_no_metastasis": answer.logits[0],
            "logit_metastasis": answer.logits[1],
            "exact": answer.consistency.exact,
            "max_deviation": answer.consistency.max_deviation,
            "consistent": answer.consistency.consistent,
            **answer.quality.model_dump(),
            "total_ms": answer.timing_ms.total,
            "answer": text,
        }
        with transaction(self._engine) as connection:
            connection.execute(insert(predictions), row)
        return text

    def find(self, prediction_id: UUID, key_id: str | None = None) -> str | None:
        """The recorded JSON, or None; ``key_id`` confines the search to one key's answers."""
        query = select(predictions.c.answer).where(predictions.c.id == str(prediction_id))
        if key_id is not None:
            query = query.where(predictions.c.key_id == key_id)
        with transaction(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def page(self, limit: int, cursor: UUID | None = None, key_id: str | None = None) -> Page:
        """At most ``limit`` answers older than ``cursor``, newest first."""
        query = select(predictions.c.id, predictions.c.answer).order_by(predictions.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(predictions.c.id < str(cursor))
        if key_id is not None:
            query = query.where(predictions.c.key_id == key_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        shown = rows[:limit]
        return Page([row.answer for row in shown], shown[-1].id if len(rows) > limit else None)

    def check_writable(self) -> None:
        """Write a row and take it back."""
        with transaction(self._engine) as connection:
            connection.execute(insert(predictions), _PROBE)
            connection.rollback()


_VALUES = {str: "-", float: 0.0, bool: False, datetime: datetime(2000, 1, 1, tzinfo=UTC)}
_PROBE = {column.name: _VALUES[column.type.python_type] for column in predictions.columns}
