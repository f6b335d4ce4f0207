"""Agreement of recorded answers with the verdicts of people, per model and month."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, func, insert, select

from app.records.audit import Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.filters import first_id
from app.records.tables import predictions, samples, verdicts
from model_zoo.intervals import kappa, wilson

MAX_MONTHS, MAX_DRAWN = 36, 500


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month of an aware time."""
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    def plus(self, months: int) -> Month:
        """The month so many months later."""
        years, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(years, month + 1)

    @property
    def ids(self) -> tuple[str, str]:
        """The least id of an answer of this month, and of the next one."""
        following = self.plus(1)
        start, end = (datetime(each.year, each.month, 1, tzinfo=UTC) for each in (self, following))
        return first_id(start), first_id(end)


@dataclass(frozen=True)
class Share:
    """A share with its 95 % Wilson interval; None for n = 0."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        return self.count / self.n if self.n else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return wilson(self.count, self.n)


@dataclass
class Judged:
    """Judged answers; a person who disagrees with a decision holds the other one for right.

    Attributes:
        positive_agree, positive_disagree, negative_agree, negative_disagree: by decision and verdict.
        left: judged answers that the model had left to a person: they are neither right nor wrong.
        disputed: of which people say different things.
    """

    positive_agree: int = 0
    positive_disagree: int = 0
    negative_agree: int = 0
    negative_disagree: int = 0
    left: int = 0
    disputed: int = 0

    @property
    def decided(self) -> int:
        return self.positive_agree + self.positive_disagree + self.negative_agree + self.negative_disagree

    @property
    def agreement(self) -> Share:
        return Share(self.positive_agree + self.negative_agree, self.decided)

    @property
    def sensitivity(self) -> Share:
        return Share(self.positive_agree, self.positive_agree + self.negative_disagree)

    @property
    def specificity(self) -> Share:
        return Share(self.negative_agree, self.negative_agree + self.positive_disagree)

    @property
    def kappa(self) -> float | None:
        return kappa(self.positive_agree, self.positive_disagree, self.negative_disagree, self.negative_agree)

    def add(self, decision: str, state: str, verdict: str | None, count: int) -> None:
        """Count answers with this decision and standing."""
        if state == "disagreed":
            self.disputed += count
        elif decision not in {"positive", "negative"}:
            self.left += count
        else:
            name = f"{decision}_{verdict}"
            setattr(self, name, getattr(self, name) + count)


@dataclass
class ModelMonth:
    """One model's answers of a month.

    Attributes:
        answers: all of them.
        reviewed: those that are judged or disputed.
        drawn: those that were drawn at random.
        drawn_reviewed: of them, those that are judged or disputed.
        random: the drawn ones.
        others: those that people chose themselves, such as the doubtful ones first.
    """

    model_sha256: str
    name: str
    version: str
    month: str
    answers: int = 0
    reviewed: int = 0
    drawn: int = 0
    drawn_reviewed: int = 0
    random: Judged = field(default_factory=Judged)
    others: Judged = field(default_factory=Judged)


class Agreement:
    """Counts verdicts against decisions, and draws answers to judge.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def months(self, now: datetime, months: int, model_id: str | None = None) -> list[ModelMonth]:
        """The months of the last ``months`` with a reviewed or drawn answer, newest first, per model."""
        found: list[ModelMonth] = []
        with transaction(self._engine) as connection:
            for back in range(months):
                found += _of_month(connection, Month.of(now).plus(-back), model_id)
        return found

    def draw(self, month: Month, model_id: str, n: int, actor: Actor) -> list[str]:
        """Draw at most ``n`` answers of a model and month at random, from those that are not drawn yet."""
        low, high = month.ids
        columns = predictions.c
        query = (
            select(columns.id)
            .where(columns.id >= low, columns.id < high, columns.model_sha256 == model_id)
            .where(columns.id.not_in(select(samples.c.prediction_id).where(samples.c.prediction_id >= low)))
            .order_by(func.random())
            .limit(n)
        )
        with self._audit.transaction() as connection:
            drawn = list(connection.execute(query).scalars())
            if drawn:
                at = datetime.now(UTC)
                rows = [{"prediction_id": each, "drawn_at": at, "drawn_by": actor.who} for each in drawn]
                connection.execute(insert(samples), rows)
                after = {"month": str(month), "asked": n, "drawn": len(drawn)}
                self._audit.append(connection, actor, Event("agreement.sample", model_id, after=after))
        return drawn

    def waiting(self, limit: int) -> list[str]:
        """Drawn answers on which nobody has a verdict that counts, in the order of the draws."""
        joined = samples.outerjoin(verdicts, verdicts.c.prediction_id == samples.c.prediction_id)
        query = (
            select(samples.c.prediction_id)
            .select_from(joined)
            .where(verdicts.c.state.is_(None) | (verdicts.c.state == "open"))
            .order_by(samples.c.drawn_at, samples.c.prediction_id)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())


def _of_month(connection: Connection, month: Month, model_id: str | None) -> Iterable[ModelMonth]:
    low, high = month.ids
    columns = predictions.c
    within = [columns.id >= low, columns.id < high]
    if model_id is not None:
        within.append(columns.model_sha256 == model_id)
    drawn = samples.c.prediction_id.is_not(None)
    joined = predictions.outerjoin(verdicts, verdicts.c.prediction_id == columns.id)
    joined = joined.outerjoin(samples, samples.c.prediction_id == columns.id)
    grouped = (
        *(columns.model_sha256, columns.model_name, columns.model_version, columns.decision),
        *(verdicts.c.state, verdicts.c.verdict, drawn),
    )
    query = select(*grouped, func.count()).select_from(joined).where(*within).group_by(*grouped)
    found: dict[str, ModelMonth] = {}
    for model, name, version, decision, state, verdict, is_drawn, count in connection.execute(query):
        each = found.setdefault(model, ModelMonth(model, name, version, str(month)))
        each.answers += count
        each.drawn += count if is_drawn else 0
        if state in {"judged", "disagreed"}:
            each.reviewed += count
            each.drawn_reviewed += count if is_drawn else 0
            (each.random if is_drawn else each.others).add(decision, state, verdict, count)
    return [each for each in found.values() if each.reviewed or each.drawn]
