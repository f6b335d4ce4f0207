"""Reviews of predictions by people."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, insert, select
from uuid_utils.compat import uuid7

from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import predictions, reviews
from app.records.verdicts import Review, Verdict, reviews_of, settle


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
            settle(connection, review.prediction_id)
            after = {"review": review.id, "decision": decision, "verdict": verdict, "note": note}
            self._audit.append(connection, actor, Event("prediction.review", review.prediction_id, after=after))
        return review

    def of(self, prediction_id: UUID) -> list[Review]:
        """A prediction's reviews, oldest first."""
        with transaction(self._engine) as connection:
            return reviews_of(connection, str(prediction_id))
