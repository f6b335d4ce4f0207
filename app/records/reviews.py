"""Reviews of predictions by people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Engine, insert, select
from uuid_utils.compat import uuid7

from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import predictions, reviews

Verdict = Literal["agree", "disagree", "unsure"]


@dataclass(frozen=True)
class Review:
    """A person's verdict on a prediction."""

    id: str
    prediction_id: str
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str


class Reviews:
    """Writes and reads reviews; each is written in one transaction with its audit row.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def add(self, prediction_id: UUID, verdict: Verdict, note: str, actor: Actor) -> Review | None:
        """Store a review; None if there is no such prediction."""
        review = Review(str(uuid7()), str(prediction_id), actor.who, datetime.now(UTC), verdict, note)
        with self._audit.transaction() as connection:
            found = connection.execute(select(predictions.c.decision).where(predictions.c.id == review.prediction_id))
            if (decision := found.scalar_one_or_none()) is None:
                return None
            connection.execute(insert(reviews), vars(review))
            after = {"review": review.id, "decision": decision, "verdict": verdict, "note": note}
            self._audit.append(connection, actor, Event("prediction.review", review.prediction_id, after=after))
        return review

    def of(self, prediction_id: UUID) -> list[Review]:
        """A prediction's reviews, oldest first."""
        query = select(reviews).where(reviews.c.prediction_id == str(prediction_id)).order_by(reviews.c.id)
        with transaction(self._engine) as connection:
            return [Review(**row._mapping) for row in connection.execute(query)]
