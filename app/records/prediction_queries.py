"""Lists of recorded answers for the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, Select, and_, func, nulls_last, select

from app.records.database import transaction
from app.records.filters import Filter, first_id
from app.records.tables import keys, predictions, reviews
from app.records.verdicts import Verdict

AMONG = 10_000


class Order(StrEnum):
    """``probability`` and ``deviation`` sort the newest 10,000 matching answers, largest first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PROBABILITY = "probability"
    DEVIATION = "deviation"

    @property
    def by_time(self) -> bool:
        """Whether the cursor is an id; otherwise it is a number of rows."""
        return self in {Order.NEWEST, Order.OLDEST}


@dataclass(frozen=True)
class ListedPrediction:
    """A recorded answer in a list; ``key_name`` is None for a key that is not in the database."""

    id: str
    created_at: datetime
    key_id: str
    model_name: str
    model_version: str
    case_id: str | None
    slide_id: str | None
    probability: float | None
    decision: str
    max_deviation: float
    consistent: bool | None
    key_name: str | None


@dataclass(frozen=True)
class RowPage:
    """Rows, and the cursor of the next page, None on the last."""

    rows: list[ListedPrediction]
    next: str | None


@dataclass(frozen=True)
class Hour:
    """The number of answers in the hour that begins at ``start``, and of those left to a person."""

    start: datetime
    answers: int
    review: int


class PredictionQueries:
    """Reads lists and counts of recorded answers.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, order: Order, limit: int, wanted: Filter, cursor: str | None = None) -> RowPage:
        """At most ``limit`` answers after the cursor."""
        query = (_by_time if order.by_time else _by_size)(order, limit + 1, wanted, cursor)
        with transaction(self._engine) as connection:
            rows = [ListedPrediction(**row._mapping) for row in connection.execute(query)]
        shown = rows[:limit]
        if len(rows) <= limit:
            return RowPage(shown, None)
        return RowPage(shown, shown[-1].id if order.by_time else str(int(cursor or 0) + limit))

    def verdicts(self, ids: Sequence[str]) -> dict[str, Verdict]:
        """The last verdict on each of these answers; answers without a review are omitted."""
        query = select(reviews.c.prediction_id, reviews.c.verdict).where(reviews.c.prediction_id.in_(ids))
        with transaction(self._engine) as connection:
            return {row.prediction_id: row.verdict for row in connection.execute(query.order_by(reviews.c.id))}

    def hours(self, starts: Sequence[datetime], end: datetime) -> list[Hour]:
        """Counts for the hours that begin at ``starts``; the last ends at ``end``."""
        bounds = [first_id(moment) for moment in (*starts, end)]
        found = []
        with transaction(self._engine) as connection:
            for start, low, high in zip(starts, bounds, bounds[1:], strict=False):
                query = (
                    select(predictions.c.decision, func.count())
                    .where(predictions.c.id >= low, predictions.c.id < high)
                    .group_by(predictions.c.decision)
                )
                counts = {row[0]: row[1] for row in connection.execute(query)}
                found.append(Hour(start, sum(counts.values()), counts.get("review", 0)))
        return found

    def last_times_ms(self, n: int) -> list[float]:
        """Response times of the last ``n`` answers, in milliseconds."""
        query = select(predictions.c.total_ms).order_by(predictions.c.id.desc()).limit(n)
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())


_COLUMNS = [
    predictions.c[name]
    for name in (
        "id", "created_at", "key_id", "model_name", "model_version", "case_id", "slide_id", "probability", "decision",
        "max_deviation", "consistent",
    )
]  # fmt: skip


def _rows(*conditions: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    join = predictions.outerjoin(keys, keys.c.id == predictions.c.key_id)
    return select(*_COLUMNS, keys.c.name.label("key_name")).select_from(join).where(*conditions)


def _by_time(order: Order, limit: int, wanted: Filter, cursor: str | None) -> Select[tuple[object, ...]]:
    column = predictions.c.id
    if order is Order.NEWEST:
        return _rows(*wanted.conditions(before=cursor)).order_by(column.desc()).limit(limit)
    return _rows(*wanted.conditions(after=cursor or "")).order_by(column).limit(limit)


def _by_size(order: Order, limit: int, wanted: Filter, cursor: str | None) -> Select[tuple[object, ...]]:
    newest = (
        select(predictions.c.id).where(and_(True, *wanted.conditions())).order_by(predictions.c.id.desc()).limit(AMONG)
    )
    size = predictions.c.probability if order is Order.PROBABILITY else predictions.c.max_deviation
    return (
        _rows(predictions.c.id.in_(newest))
        .order_by(nulls_last(size.desc()), predictions.c.id.desc())
        .limit(limit)
        .offset(int(cursor or 0))
    )
