"""The rows of slide runs, and the secret behind the ids of slides."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine, Row, delete, func, insert, select, update

from app.records.audit import SERVER, Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import region_reviews, slide_runs, slide_secret

RunState = Literal["queued", "running", "complete", "failed", "cancelled"]

UNFINISHED: tuple[RunState, ...] = ("queued", "running")
TOGETHER = 100
_COLUMNS = slide_runs.c


@dataclass(frozen=True)
class SlideRun:
    """A run, as the database has it; times are UTC.

    Attributes:
        id: UUID version 7.
        slide_id: of the slide that is scored.
        model: SHA-256 of the artifact that answers.
        key_id: of the key that started it.
        prevalence: at which regions are looked for.
        done: cells that are done.
        total: cells of the slide; 0 until that is known.
        reason: why it failed; empty otherwise.
        scope: once complete, ``verdict`` (``in_scope``, ``out_of_scope``, ``unknown``), ``cells``, ``figures``,
            ``reference`` and ``text``, as in ``run.json``; None before.
    """

    id: str
    slide_id: str
    state: RunState
    model: str
    key_id: str
    prevalence: float
    rotations: str
    shifts: str
    done: int
    total: int
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    scope: dict[str, Any] | None


class SlideRuns:
    """Writes and reads the runs; starts, cancels and deletions are told in the audit trail, in the same transaction.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def secret(self) -> bytes:
        """This installation's secret, made once."""
        query = select(slide_secret.c.secret)
        with transaction(self._engine) as connection:
            if (found := connection.execute(query).scalar()) is not None:
                return bytes.fromhex(found)
        with self._audit.transaction() as connection:
            if (found := connection.execute(query).scalar()) is None:
                found = secrets.token_hex(32)
                connection.execute(insert(slide_secret), {"id": 1, "secret": found})
            return bytes.fromhex(found)

    def add(self, run: SlideRun, place: str, actor: Actor, most: int) -> bool:
        """Store a new run; False if so many are unfinished already."""
        with self._audit.transaction() as connection:
            waiting = select(func.count()).where(_COLUMNS.state.in_(UNFINISHED), _COLUMNS.place == place)
            if connection.execute(waiting).scalar_one() >= most:
                return False
            values = {name: value for name, value in vars(run).items() if name not in {"model", "scope"}}
            values |= {"model_sha256": run.model, "place": place, "started_by": actor.who}
            connection.execute(insert(slide_runs), values)
            after = {"slide": run.slide_id, "model": run.model, "prevalence": run.prevalence}
            after |= {"rotations": run.rotations, "shifts": run.shifts}
            self._audit.append(connection, actor, Event("slide.run", run.id, after=after))
        return True

    def find(self, run_id: str, key_id: str | None = None) -> SlideRun | None:
        """A run; with ``key_id``, only if that key started it."""
        found = self.of([_COLUMNS.id == run_id], key_id, 1)
        return found[0] if found else None

    def page(self, limit: int, before: str | None, slide_id: str | None, key_id: str | None) -> list[SlideRun]:
        """At most ``limit`` runs with ids below ``before``, newest first."""
        conditions = []
        if before is not None:
            conditions.append(_COLUMNS.id < before)
        if slide_id is not None:
            conditions.append(_COLUMNS.slide_id == slide_id)
        return self.of(conditions, key_id, limit)

    def of(self, conditions: Iterable[Any], key_id: str | None, limit: int) -> list[SlideRun]:
        query = select(slide_runs).where(*conditions).order_by(_COLUMNS.id.desc()).limit(limit)
        if key_id is not None:
            query = query.where(_COLUMNS.key_id == key_id)
        with transaction(self._engine) as connection:
            return [_run(row) for row in connection.execute(query)]

    def last(self, slide_ids: Sequence[str], key_id: str | None) -> dict[str, SlideRun]:
        """The newest run of each slide that has one."""
        newest = select(func.max(_COLUMNS.id)).group_by(_COLUMNS.slide_id)
        if key_id is not None:
            newest = newest.where(_COLUMNS.key_id == key_id)
        if len(slide_ids) == 1:
            newest = newest.where(_COLUMNS.slide_id == slide_ids[0])
        with transaction(self._engine) as connection:
            found = [_run(row) for row in connection.execute(select(slide_runs).where(_COLUMNS.id.in_(newest)))]
        return {run.slide_id: run for run in found}

    def next(self, place: str) -> SlideRun | None:
        """The oldest unfinished run of this place, one that has begun first."""
        query = (
            select(slide_runs)
            .where(_COLUMNS.place == place, _COLUMNS.state.in_(UNFINISHED))
            .order_by(_COLUMNS.state.desc(), _COLUMNS.id)
            .limit(1)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).first()
        return _run(row) if row else None

    def change(self, run_id: str, **values: Any) -> bool:
        """Change an unfinished run; False if it has ended meanwhile, by a cancel say."""
        if values.get("scope") is not None:
            values["scope"] = json.dumps(values["scope"], ensure_ascii=False)
        query = update(slide_runs).where(_COLUMNS.id == run_id, _COLUMNS.state.in_(UNFINISHED)).values(**values)
        with transaction(self._engine) as connection:
            return connection.execute(query).rowcount == 1

    def cancel(self, run_id: str, actor: Actor) -> bool:
        """Cancel a run; False if it has ended."""
        with self._audit.transaction() as connection:
            query = select(_COLUMNS.state, _COLUMNS.done).where(_COLUMNS.id == run_id, _COLUMNS.state.in_(UNFINISHED))
            row = connection.execute(query).first()
            if row is None:
                return False
            values = {"state": "cancelled", "finished_at": datetime.now(UTC)}
            ending = update(slide_runs).where(_COLUMNS.id == run_id, _COLUMNS.state.in_(UNFINISHED)).values(**values)
            if connection.execute(ending).rowcount == 0:  # it has ended since
                return False
            before = {"state": row.state, "done": row.done}
            self._audit.append(connection, actor, Event("slide.cancel", run_id, before, {"state": "cancelled"}))
        return True

    def delete_before(self, first_id: str, place: str, days: int) -> list[str]:
        """Delete the oldest finished runs of this place with ids below ``first_id`` and their regions' reviews.

        At most 100 at a time; gives their ids.
        """
        finished = _COLUMNS.state.not_in(UNFINISHED)
        query = (
            select(_COLUMNS.id)
            .where(_COLUMNS.id < first_id, _COLUMNS.place == place, finished)
            .order_by(_COLUMNS.id)
            .limit(TOGETHER)
        )
        with self._audit.transaction() as connection:
            found = list(connection.execute(query).scalars())
            if found:
                connection.execute(delete(region_reviews).where(region_reviews.c.run_id.in_(found)))
                connection.execute(delete(slide_runs).where(_COLUMNS.id.in_(found)))
                after = {"deleted": len(found), "first": found[0], "last": found[-1], "retention_days": days}
                self._audit.append(connection, SERVER, Event("slide.retention", "slide_runs", after=after))
        return found

    def known(self, place: str) -> set[str]:
        """Ids of all runs of this place."""
        with transaction(self._engine) as connection:
            return set(connection.execute(select(_COLUMNS.id).where(_COLUMNS.place == place)).scalars())

    def states(self) -> dict[RunState, int]:
        """How many runs there are in each state."""
        query = select(_COLUMNS.state, func.count()).group_by(_COLUMNS.state)
        with transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _run(row: Row[Any]) -> SlideRun:
    values = dict(row._mapping)
    scope = values.pop("scope")
    for name in ("place", "started_by"):
        del values[name]
    return SlideRun(model=values.pop("model_sha256"), scope=json.loads(scope) if scope else None, **values)
