"""Recorded acceptance tests of models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, case, insert, select
from uuid_utils.compat import uuid7

from app.problems import UnknownAcceptance
from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.tables import acceptances
from model_zoo.acceptance import AcceptanceReport, Kind

MAX_LISTED = 200


@dataclass(frozen=True)
class Acceptance:
    """A recorded acceptance test without its report; ``outcome`` and ``kind`` are the report's."""

    id: str
    model_sha256: str
    outcome: str
    site: str
    patches: int
    tested_by: str
    tested_at: datetime
    kind: Kind


_COLUMNS = [column for column in acceptances.columns if column.name != "report"]
# In JSON this is no part of a text, whose quotes are escaped.
_KIND = case((acceptances.c.report.contains('"kind":"verdicts"'), "verdicts"), else_="patches").label("kind")


class Acceptances:
    """Writes and reads acceptance tests; each is written in one transaction with its audit row.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def add(self, report: AcceptanceReport, actor: Actor) -> Acceptance:
        """Store a report."""
        found = Acceptance(
            id=str(uuid7()),
            model_sha256=report.model.sha256,
            outcome=report.outcome,
            site=report.site,
            patches=report.data.patches,
            tested_by=actor.who,
            tested_at=datetime.now(UTC),
            kind=report.kind,
        )
        text = report.model_dump_json()
        after = {"acceptance": found.id, "outcome": found.outcome, "site": found.site, "data": report.data.sha256}
        figures = {each.name: [each.value, each.low, each.high] for each in report.figures}
        with self._audit.transaction() as connection:
            row = {name: value for name, value in vars(found).items() if name != "kind"}
            connection.execute(insert(acceptances), row | {"report": text})
            event = Event("model.acceptance", found.model_sha256, after=after | {"figures": figures})
            self._audit.append(connection, actor, event)
        return found

    def listing(self, model_id: str | None = None) -> list[Acceptance]:
        """At most 200 acceptance tests, newest first, of one model or of all."""
        query = select(*_COLUMNS, _KIND).order_by(acceptances.c.id.desc()).limit(MAX_LISTED)
        if model_id is not None:
            query = query.where(acceptances.c.model_sha256 == model_id)
        with transaction(self._engine) as connection:
            return [Acceptance(**row._mapping) for row in connection.execute(query)]

    def last(self, model_id: str) -> Acceptance | None:
        """A model's newest acceptance test with an outcome; None if it has none."""
        query = select(*_COLUMNS, _KIND).where(
            acceptances.c.model_sha256 == model_id, acceptances.c.outcome != "no_outcome"
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query.order_by(acceptances.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else Acceptance(**row._mapping)

    def find(self, acceptance_id: str) -> tuple[Acceptance, AcceptanceReport]:
        """An acceptance test and its report.

        Raises:
            UnknownAcceptance: if there is none.
        """
        try:
            wanted = str(UUID(acceptance_id))
        except ValueError:
            raise _unknown(acceptance_id) from None
        with transaction(self._engine) as connection:
            row = connection.execute(select(acceptances).where(acceptances.c.id == wanted)).one_or_none()
        if row is None:
            raise _unknown(acceptance_id)
        described = {name: value for name, value in row._mapping.items() if name != "report"}
        report = AcceptanceReport.model_validate_json(row.report)
        return Acceptance(**described, kind=report.kind), report


def _unknown(acceptance_id: str) -> UnknownAcceptance:
    return UnknownAcceptance(
        f"There is no acceptance test {acceptance_id!r}: GET /admin/acceptance or `rosette acceptances list` lists "
        "them."
    )
