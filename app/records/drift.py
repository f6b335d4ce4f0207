"""Drift: compares recent answers with the reference of the model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any, get_args

from sqlalchemy import Column, ColumnElement, Connection, Engine, and_, exists, func, select

from app.records.database import transaction
from app.records.filters import first_id
from app.records.tables import models, predictions
from model_zoo.basis import Basis
from model_zoo.drift import FIGURES, FigureDrift, compare
from model_zoo.manifest import Bins, Reference

WINDOWS = {"day": timedelta(days=1), "week": timedelta(days=7)}
FRESH_S = 60.0
BASES: tuple[Basis, ...] = get_args(Basis)


@dataclass(frozen=True)
class WindowDrift:
    """One model's answers of one window.

    Attributes:
        window: ``"day"`` or ``"week"``.
        since: start of the window; it ends at the time of the report.
        predictions: number of all predictions.
        not_assessable: number of predictions that are not assessable; they count only for the stain.
    """

    window: str
    since: datetime
    predictions: int
    not_assessable: int
    figures: list[FigureDrift]


@dataclass(frozen=True)
class ModelDrift:
    """One model's answers of one basis. ``windows`` are the last day and the last week."""

    name: str
    version: str
    sha256: str
    basis: Basis
    windows: list[WindowDrift]


@dataclass(frozen=True)
class DriftReport:
    """All models that answered within the last week, once per basis."""

    at: datetime
    models: list[ModelDrift]


class Drift:
    """Compares the prediction log with the references of the models.

    The database counts over one index and returns only counts. All methods are thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, DriftReport] | None = None

    def latest(self) -> DriftReport:
        """A report that is at most a minute old; concurrent callers share one.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        with self._lock:
            if self._last is None or self._clock() - self._last[0] >= FRESH_S:
                self._last = self._clock(), self.measure(datetime.now(UTC))
            return self._last[1]

    def measure(self, now: datetime) -> DriftReport:
        """A new report on the time before ``now``.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        columns = models.c
        since = now - max(WINDOWS.values())
        query = select(
            columns.id,
            columns.name,
            columns.version,
            columns.manifest,
            *(exists().where(_within(columns.id, basis, since, now)).label(basis) for basis in BASES),
        )
        found = []
        with transaction(self._engine) as connection:
            for row in connection.execute(query.order_by(columns.uploaded_at.desc(), columns.id)).all():
                for basis in BASES:
                    if getattr(row, basis):
                        windows = _windows(connection, row.id, basis, _reference(row.manifest, basis), now)
                        found.append(ModelDrift(row.name, row.version, row.id, basis, windows))
        return DriftReport(now, found)


@dataclass
class _Counts:
    """Counts of the database: rows, rows that are not assessable, and rows per bin of each quantity."""

    rows: int
    not_assessable: int
    binned: list[list[int]]

    def __add__(self, other: _Counts) -> _Counts:
        binned = [
            [a + b for a, b in zip(mine, others, strict=True)]
            for mine, others in zip(self.binned, other.binned, strict=True)
        ]
        return _Counts(self.rows + other.rows, self.not_assessable + other.not_assessable, binned)


def _reference(manifest: str, basis: Basis) -> Reference | None:
    """The reference in a manifest's JSON for answers of this basis."""
    read = json.loads(manifest)
    stored = (read.get("orbit") or {} if basis == "orbit" else read).get("reference")
    return None if stored is None else Reference.model_validate(stored)


def _within(model_id: ColumnElement[str] | str, basis: Basis, since: datetime, until: datetime) -> ColumnElement[bool]:
    """The model's predictions of a basis from ``since`` until before ``until``: a range of one index."""
    columns = predictions.c
    return and_(
        columns.model_sha256 == model_id,
        columns.id >= first_id(since),
        columns.id < first_id(until),
        columns.basis == basis,
    )


def _windows(
    connection: Connection, model_id: str, basis: Basis, reference: Reference | None, now: datetime
) -> list[WindowDrift]:
    """The model's windows, shortest first. Each prediction is counted once."""
    bins = [getattr(reference, figure) if reference else None for figure in FIGURES]
    windows: list[WindowDrift] = []
    until, total = now, _Counts(0, 0, [[0] * (len(each.counts) if each else 1) for each in bins])
    for window, length in WINDOWS.items():
        since = now - length
        total += _count(connection, bins, _within(model_id, basis, since, until))
        figures = [
            compare(figure, each, counts) for figure, each, counts in zip(FIGURES, bins, total.binned, strict=True)
        ]
        windows.append(WindowDrift(window, since, total.rows, total.not_assessable, figures))
        until = since
    return windows


def _count(connection: Connection, bins: Sequence[Bins | None], meant: ColumnElement[bool]) -> _Counts:
    """Count the matching predictions, in total and below each edge, for each quantity."""
    columns = predictions.c
    assessable = columns.probability.is_not(None)
    # A partly known orbit has smaller deviations.
    counted: list[tuple[Column[Any], ColumnElement[bool]]] = [
        (columns.probability, assessable),
        (columns.max_deviation, and_(assessable, columns.consistent.is_not(None))),
        (columns.stain_distance, columns.stain_distance.is_not(None)),
    ]
    wanted: list[ColumnElement[int]] = []
    for (column, has_it), each in zip(counted, bins, strict=True):
        wanted += [func.count().filter(has_it, column < edge) for edge in (each.edges if each else ())]
        wanted.append(func.count().filter(has_it))
    rows, assessed, *below = connection.execute(
        select(func.count(), func.count(columns.probability), *wanted).where(meant)
    ).one()
    binned = []
    for each in bins:
        size = len(each.counts) if each else 1
        cumulated, below = below[:size], below[size:]
        binned.append([high - low for low, high in pairwise([0, *cumulated])])
    return _Counts(rows, rows - assessed, binned)
