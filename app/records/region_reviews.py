"""Reviews of a run's regions by people; rows are only added."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, insert, select
from uuid_utils.compat import uuid7

from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import region_reviews, slide_runs
from app.records.verdicts import Verdict


@dataclass(frozen=True)
class RegionReview:
    """A person's verdict on a region.

    Attributes:
        region: its number in the run's ``regions.geojson``, from 1.
    """

    id: str
    run_id: str
    region: int
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str


class RegionReviews:
    """Writes and reads reviews of regions; each is written in one transaction with its audit row.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def add(
        self, run_id: str, region: int, largest: float, verdict: Verdict, note: str, actor: Actor
    ) -> RegionReview | None:
        """Store a review; None if there is no such complete run.

        Args:
            largest: the region's largest probability, which the audit trail keeps beside the verdict.
        """
        review = RegionReview(str(uuid7()), run_id, region, actor.reviewer, datetime.now(UTC), verdict, note)
        with self._audit.transaction() as connection:
            complete = select(slide_runs.c.id).where(slide_runs.c.id == run_id, slide_runs.c.state == "complete")
            if connection.execute(complete).scalar_one_or_none() is None:
                return None
            connection.execute(insert(region_reviews), vars(review))
            after = {"review": review.id, "region": region, "probability": largest, "verdict": verdict, "note": note}
            self._audit.append(connection, actor, Event("slide.review", run_id, after=after))
        return review

    def of(self, run_id: str) -> list[RegionReview]:
        """The reviews of a run's regions, oldest first."""
        query = select(region_reviews).where(region_reviews.c.run_id == run_id).order_by(region_reviews.c.id)
        with transaction(self._engine) as connection:
            return [RegionReview(**row._mapping) for row in connection.execute(query)]
