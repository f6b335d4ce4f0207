"""Which verdict on an answer counts, and what state the answer has.

Of each person only the latest verdict counts. ``unsure`` does not decide. An answer is ``open`` until somebody agrees
or disagrees, ``disagreed`` while as many agree as disagree, and ``judged`` when more people say one than the other: one
person, two who say the same, or two of three.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select

from app.records.tables import reviews, verdicts

Verdict = Literal["agree", "disagree", "unsure"]
State = Literal["open", "judged", "disagreed"]


class Given(Protocol):
    """A person's verdict, on an answer or on a region."""

    @property
    def reviewer(self) -> str: ...

    @property
    def verdict(self) -> Verdict: ...


SomeGiven = TypeVar("SomeGiven", bound=Given)


@dataclass(frozen=True)
class Review:
    """A person's verdict on a prediction."""

    id: str
    prediction_id: str
    reviewer: str
    reviewed_at: datetime
    verdict: Verdict
    note: str


@dataclass(frozen=True)
class Standing:
    """The state of an answer.

    Attributes:
        verdict: the verdict that counts; None unless the state is ``"judged"``.
        readers: how many people gave a verdict, also ``"unsure"``.
    """

    state: State
    verdict: Verdict | None
    readers: int


OPEN = Standing("open", None, 0)


def latest(given: Iterable[SomeGiven]) -> list[SomeGiven]:
    """The review of each person that counts, of one prediction's or region's reviews, oldest first."""
    found: dict[str, SomeGiven] = {}
    for review in given:
        found.pop(review.reviewer, None)
        found[review.reviewer] = review
    return list(found.values())


def standing(given: Iterable[Given]) -> Standing:
    """The state of an answer or region with these reviews, oldest first."""
    counting = [review.verdict for review in latest(given)]
    agree, disagree = counting.count("agree"), counting.count("disagree")
    if agree == disagree:
        return Standing("disagreed" if agree else "open", None, len(counting))
    return Standing("judged", "agree" if agree > disagree else "disagree", len(counting))


def visible_to(person: str, given: Sequence[Review]) -> list[Review]:
    """The reviews that a person who may judge sees: all, but before their own verdict only those of a disagreement."""
    if any(review.reviewer == person for review in given) or standing(given).state == "disagreed":
        return list(given)
    return []


def reviews_of(connection: Connection, prediction_id: str) -> list[Review]:
    """A prediction's reviews, oldest first."""
    query = select(reviews).where(reviews.c.prediction_id == prediction_id).order_by(reviews.c.id)
    return [Review(**row._mapping) for row in connection.execute(query)]


def settle(connection: Connection, prediction_id: str) -> Standing:
    """Store the state of an answer after a new review; the caller holds the audit trail's lock."""
    found = standing(reviews_of(connection, prediction_id))
    connection.execute(delete(verdicts).where(verdicts.c.prediction_id == prediction_id))
    connection.execute(insert(verdicts), {"prediction_id": prediction_id} | vars(found))
    return found
