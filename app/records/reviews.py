"""Reviews of predictions by people."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, insert, select
from uuid_utils.compat import uuid7

from app.problems import WrongPicture
from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.filters import Scope
from app.records.tables import predictions, reviews
from app.records.verdicts import Review, Verdict, reviews_of, settle


class Reviews:
    """Writes and reads reviews; each is written in one transaction with its audit row.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def add(
        self,
        prediction_id: UUID,
        verdict: Verdict,
        note: str,
        actor: Actor,
        scope: Scope | None = None,
        picture: str | None = None,
    ) -> Review | None:
        """Store a review; None if there is no such prediction in the scope.

        Args:
            picture: SHA-256 of the RGB bytes of the picture that the person saw, if any.

        Raises:
            WrongPicture: if that is not the prediction's patch; nothing is stored.
        """
        review = Review(str(uuid7()), str(prediction_id), actor.reviewer, datetime.now(UTC), verdict, note)
        with self._audit.transaction() as connection:
            query = select(predictions.c.decision, predictions.c.patch_sha256)
            query = query.where(predictions.c.id == review.prediction_id, *([scope.condition()] if scope else []))
            if (found := connection.execute(query).one_or_none()) is None:
                return None
            if picture not in {None, found.patch_sha256}:
                raise WrongPicture(picture, found.patch_sha256)
            connection.execute(insert(reviews), vars(review))
            settle(connection, review.prediction_id)
            after = {"review": review.id, "decision": found.decision, "verdict": verdict, "note": note}
            self._audit.append(connection, actor, Event("prediction.review", review.prediction_id, after=after))
        return review

    def of(self, prediction_id: UUID) -> list[Review]:
        """A prediction's reviews, oldest first."""
        with transaction(self._engine) as connection:
            return reviews_of(connection, str(prediction_id))
