"""The worklist: recorded answers by case, with the state that people gave them, most doubtful first or by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Subquery, case, func, nulls_last, select, true

from app.records.database import transaction
from app.records.doubt import KnownBounds, doubt
from app.records.filters import Filter, moment_of
from app.records.tables import keys, patches, predictions, reviews, verdicts
from app.records.verdicts import State, Verdict

AMONG = 10_000


class WorkOrder(StrEnum):
    """``doubt`` lists the most doubtful first."""

    DOUBT = "doubt"
    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class CaseEntry:
    """A case, or the answers without one.

    Attributes:
        case_id: None for the answers that name no case.
        doubt: the largest of the answers that are not judged, 0 to 1; None if there are none.
        first, last: when its first and its last answer were given.
    """

    case_id: str | None
    answers: int
    slides: int
    open: int
    judged: int
    disagreed: int
    doubt: float | None
    first: datetime
    last: datetime

    @property
    def state(self) -> State:
        """``disagreed`` if an answer is, else ``open`` if an answer is."""
        return "disagreed" if self.disagreed else "open" if self.open else "judged"


@dataclass(frozen=True)
class WorkEntry:
    """An answer in the worklist.

    Attributes:
        verdict: the verdict that counts; None also while it is hidden from the person.
        own: the person's own latest verdict.
        doubt: 0 to 1.
        stored: whether the patch is stored.
    """

    id: str
    created_at: datetime
    key_id: str
    key_name: str | None
    case_id: str | None
    slide_id: str | None
    file_name: str | None
    model_name: str
    model_version: str
    probability: float | None
    label: str | None
    decision: str
    max_deviation: float
    consistent: bool | None
    doubt: float
    state: State
    verdict: Verdict | None
    readers: int
    own: Verdict | None
    stored: bool


@dataclass(frozen=True)
class Beside:
    """The ids of an answer's neighbours in the list, None at its ends.

    Attributes:
        next_left: the next answer that the person should judge, from the beginning again after the end.
        left: how many such answers the list has.
    """

    previous: str | None
    next: str | None
    next_left: str | None
    left: int


class Worklist:
    """Reads the worklist, among the newest 10,000 answers that match a filter.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bounds = KnownBounds()

    def cases(self, wanted: Filter, order: WorkOrder, limit: int, offset: int = 0) -> list[CaseEntry]:
        """Cases; of a state, those with such an answer, with all of their answers."""
        with transaction(self._engine) as connection:
            query = _cases(self._window(connection, replace(wanted, state=None)), wanted.state, order)
            rows = connection.execute(query.limit(limit).offset(offset)).all()
        times = [{"first": moment_of(row.first), "last": moment_of(row.last)} for row in rows]
        return [CaseEntry(**{**row._mapping, **ends}) for row, ends in zip(rows, times, strict=True)]

    def answers(
        self, wanted: Filter, order: WorkOrder, limit: int, offset: int = 0, person: str = "", blind: bool = True
    ) -> list[WorkEntry]:
        """Answers, those of a case by slide.

        Args:
            person: whose own verdicts are given.
            blind: whether the verdict that counts is hidden where that person has not judged.
        """
        with transaction(self._engine) as connection:
            window = self._window(connection, wanted)
            page = select(window).order_by(*_order(window, order, wanted)).limit(limit).offset(offset).subquery("page")
            # In one statement: PostgreSQL shows the next one what was deleted meanwhile.
            found = connection.execute(_entries(page).order_by(*_order(page, order, wanted))).mappings().all()
            own = _own(connection, [row["id"] for row in found], person)
        shown = [row["verdict"] if not blind or row["id"] in own else None for row in found]
        return [
            WorkEntry(**{**row, "verdict": verdict}, own=own.get(row["id"]))
            for row, verdict in zip(found, shown, strict=True)
        ]

    def beside(self, prediction_id: str, wanted: Filter, order: WorkOrder, person: str) -> Beside:
        """The neighbours of an answer in the list, also if it no longer matches the filter's state."""
        with transaction(self._engine) as connection:
            window = self._window(connection, replace(wanted, state=None, unread_by=None))
            read = select(reviews.c.prediction_id).where(reviews.c.reviewer == person)
            joined = window.outerjoin(verdicts, verdicts.c.prediction_id == window.c.id)
            query = select(window.c.id, _STATE, window.c.id.in_(read).label("read")).select_from(joined)
            rows = connection.execute(query.order_by(*_order(window, order, wanted))).all()
        place = next((place for place, row in enumerate(rows) if row.id == prediction_id), -1)
        before, after = rows[: max(place, 0)], rows[place + 1 :]

        def listed(row: Row[Any]) -> bool:
            return wanted.state in {None, row.state} and not (wanted.unread_by and row.read)

        def left(row: Row[Any]) -> bool:
            return listed(row) and not row.read and bool(wanted.state or wanted.unread_by or row.state != "judged")

        return Beside(
            previous=next((row.id for row in reversed(before) if listed(row)), None),
            next=next((row.id for row in after if listed(row)), None),
            next_left=next((row.id for row in (*after, *before) if left(row)), None),
            left=sum(map(left, rows)),
        )

    def _window(self, connection: Connection, wanted: Filter) -> Subquery:
        """The newest answers that match: their id, case, slide and doubt."""
        columns = predictions.c
        measured = doubt(self._bounds.read(connection)).label("doubt")
        query = select(columns.id, columns.case_id, columns.slide_id, measured).where(true(), *wanted.conditions())
        return query.order_by(columns.id.desc()).limit(AMONG).subquery("newest")


def _order(window: Subquery, order: WorkOrder, wanted: Filter) -> list[ColumnElement[Any]]:
    by_slide = [nulls_last(window.c.slide_id)] if wanted.case_id is not None else []
    match order:
        case WorkOrder.DOUBT:
            return [*by_slide, window.c.doubt.desc(), window.c.id.desc()]
        case WorkOrder.NEWEST:
            return [*by_slide, window.c.id.desc()]
        case WorkOrder.OLDEST:
            return [*by_slide, window.c.id]


def _cases(window: Subquery, state: str | None, order: WorkOrder) -> Select[Any]:
    counts = {name: func.sum(case((name == _STATE, 1), else_=0)) for name in get_args(State)}
    largest = func.max(case((_STATE != "judged", window.c.doubt)))
    first, last = func.min(window.c.id), func.max(window.c.id)
    orders = {WorkOrder.DOUBT: [nulls_last(largest.desc()), last.desc()], WorkOrder.NEWEST: [last.desc()]}
    query = (
        select(
            window.c.case_id,
            func.count().label("answers"),
            func.count(window.c.slide_id.distinct()).label("slides"),
            *(count.label(name) for name, count in counts.items()),
            largest.label("doubt"),
            first.label("first"),
            last.label("last"),
        )
        .select_from(window.outerjoin(verdicts, verdicts.c.prediction_id == window.c.id))
        .group_by(window.c.case_id)
        .order_by(*orders.get(order, [first]))
    )
    return query if state is None else query.having(counts[state] > 0)


def _entries(page: Subquery) -> Select[Any]:
    joined = (
        page.join(predictions, predictions.c.id == page.c.id)
        .outerjoin(keys, keys.c.id == predictions.c.key_id)
        .outerjoin(verdicts, verdicts.c.prediction_id == predictions.c.id)
        .outerjoin(patches, patches.c.prediction_id == predictions.c.id)
    )
    return select(
        *(predictions.c[name] for name in _COLUMNS),
        page.c.doubt,
        keys.c.name.label("key_name"),
        _STATE,
        verdicts.c.verdict,
        func.coalesce(verdicts.c.readers, 0).label("readers"),
        patches.c.prediction_id.is_not(None).label("stored"),
    ).select_from(joined)


def _own(connection: Connection, ids: Sequence[str], person: str | None) -> dict[str, Verdict]:
    query = select(reviews.c.prediction_id, reviews.c.verdict).where(
        reviews.c.prediction_id.in_(ids), reviews.c.reviewer == person
    )
    return {row.prediction_id: row.verdict for row in connection.execute(query.order_by(reviews.c.id))}


_STATE = func.coalesce(verdicts.c.state, "open").label("state")
_COLUMNS = (
    "id", "created_at", "key_id", "case_id", "slide_id", "file_name", "model_name", "model_version", "probability",
    "label", "decision", "max_deviation", "consistent",
)  # fmt: skip
