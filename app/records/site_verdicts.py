"""What people judged of a model's answers: those that were drawn at random, and regions of slide runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select

from app.records.database import transaction
from app.records.filters import first_id
from app.records.slide_runs import SlideRun, SlideRuns
from app.records.tables import predictions, region_reviews, samples, slide_runs, verdicts
from app.records.verdicts import Standing, standing
from model_zoo.verdict_figures import DrawnAnswer

MAX_ANSWERS = 2_000
MAX_RUNS = 500


@dataclass(frozen=True)
class JudgedRun:
    """A slide's newest run with verdicts on its regions.

    Attributes:
        standings: of the regions with a verdict, by their number.
    """

    run: SlideRun
    standings: Mapping[int, Standing]


class SiteVerdicts:
    """Reads verdicts for the acceptance test.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, runs: SlideRuns) -> None:
        self._engine = engine
        self._runs = runs

    def drawn(self, model_id: str, since: datetime) -> list[DrawnAnswer]:
        """A model's answers since then that were drawn at random, newest first, at most 2,000; a patch counts once."""
        columns = predictions.c
        joined = samples.join(predictions, columns.id == samples.c.prediction_id)
        joined = joined.outerjoin(verdicts, verdicts.c.prediction_id == columns.id)
        wanted = (
            *(columns.id, columns.patch_sha256, columns.slide_id, columns.case_id, columns.basis, columns.decision),
            *(columns.probability, columns.max_deviation, columns.consistent, columns.stain_distance),
            *(verdicts.c.state, verdicts.c.verdict),
        )
        query = (
            select(*wanted)
            .select_from(joined)
            .where(columns.model_sha256 == model_id, samples.c.prediction_id >= first_id(since))
            .order_by(columns.id.desc())
            .limit(MAX_ANSWERS)
        )
        found: dict[str, DrawnAnswer] = {}
        with transaction(self._engine) as connection:
            for row in connection.execute(query):
                found.setdefault(row.patch_sha256, _drawn(row))
        return list(found.values())

    def judged_runs(self, model_id: str, since: datetime) -> list[JudgedRun]:
        """The newest complete run with a verdict of each slide, of a model's runs since then; at most 500."""
        columns = slide_runs.c
        reviewed = select(region_reviews.c.run_id)
        conditions = (
            *(columns.model_sha256 == model_id, columns.state == "complete"),
            *(columns.id >= first_id(since), columns.id.in_(reviewed)),
        )
        newest: dict[str, SlideRun] = {}
        for run in self._runs.of(conditions, None, MAX_RUNS):
            newest.setdefault(run.slide_id, run)
        with transaction(self._engine) as connection:
            return [JudgedRun(run, _standings(connection, run.id)) for run in newest.values()]


def _drawn(row: Any) -> DrawnAnswer:
    return DrawnAnswer(
        patch=row.patch_sha256,
        group=_group(row.id, row.case_id, row.slide_id),
        named=row.slide_id is not None or row.case_id is not None,
        basis=row.basis,
        decision=row.decision,
        probability=row.probability,
        max_deviation=row.max_deviation if row.consistent is not None else None,
        stain_distance=row.stain_distance,
        verdict=row.verdict if row.state == "judged" else None,
    )


def _group(answer_id: str, case_id: str | None, slide_id: str | None) -> str:
    """The slide of an answer, which a case may number by itself; else its case, else the answer."""
    if slide_id is not None:
        return f"slide {case_id or ''} {slide_id}"
    return f"answer {answer_id}" if case_id is None else f"case {case_id}"


def _standings(connection: Connection, run_id: str) -> dict[int, Standing]:
    columns = region_reviews.c
    query = select(columns.region, columns.reviewer, columns.verdict).where(columns.run_id == run_id)
    given: dict[int, list[Any]] = {}
    for row in connection.execute(query.order_by(columns.id)):
        given.setdefault(row.region, []).append(row)
    return {region: standing(rows) for region, rows in given.items()}
