"""Which verdict on an answer counts, and what state the answer has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, delete, select, text

from app.records.audit import Actor, AuditTrail
from app.records.database import transaction
from app.records.migrations import migrate, scripts
from app.records.reviews import Reviews
from app.records.tables import verdicts
from app.records.verdicts import OPEN, Review, Standing, Verdict, standing, visible_to
from model_zoo.orbit import Rotations
from tests.app.conftest import answer_of, entry_of, write

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
GIVEN: list[tuple[list[tuple[str, Verdict]], Standing]] = [
    ([], OPEN),
    ([("A", "unsure")], Standing("open", None, 1)),
    ([("A", "agree")], Standing("judged", "agree", 1)),
    ([("A", "agree"), ("B", "unsure")], Standing("judged", "agree", 2)),
    ([("A", "agree"), ("B", "disagree")], Standing("disagreed", None, 2)),
    ([("A", "agree"), ("B", "disagree"), ("C", "unsure")], Standing("disagreed", None, 3)),
    ([("A", "agree"), ("B", "disagree"), ("C", "disagree")], Standing("judged", "disagree", 3)),
    ([("A", "agree"), ("B", "disagree"), ("A", "disagree")], Standing("judged", "disagree", 2)),
    ([("A", "agree"), ("A", "unsure")], Standing("open", None, 1)),
]  # fmt: skip


def reviewed(given: Sequence[tuple[str, Verdict]]) -> list[Review]:
    return [Review(f"{number:036}", "p", person, MOMENT, verdict, "") for number, (person, verdict) in enumerate(given)]


@pytest.mark.parametrize(("given", "expected"), GIVEN)
def test_a_persons_latest_verdict_counts_and_a_third_decides(
    given: list[tuple[str, Verdict]], expected: Standing
) -> None:
    assert standing(reviewed(given)) == expected


def test_a_second_reader_sees_the_first_verdict_after_their_own_and_a_third_sees_a_disagreement() -> None:
    first = reviewed([("A", "agree")])
    assert (visible_to("B", first), visible_to("A", first)) == ([], first)
    for both in (reviewed([("A", "agree"), ("B", "disagree")]), reviewed([("A", "agree"), ("B", "unsure")])):
        assert visible_to("B", both) == both
        assert visible_to("C", both) == (both if both[1].verdict == "disagree" else [])


def test_states_are_stored_with_each_review_and_filled_in_by_the_migration(database: Engine) -> None:
    migrate(database)
    reviews = Reviews(database, AuditTrail(database))
    expected = {}
    for given, found in GIVEN:
        if not given:
            continue
        answer = answer_of(MOMENT)
        write(database, entry_of(answer, Rotations.FULL, "key"))
        expected[str(answer.id)] = (found.state, found.verdict, found.readers)
        for person, verdict in given:
            assert reviews.add(answer.id, verdict, "", Actor(person)) is not None
    assert reviews.add(UUID(str(uuid4())), "agree", "", Actor("A")) is None
    assert stored(database) == expected
    with transaction(database) as connection:
        connection.execute(delete(verdicts))
        connection.execute(text(filling()))
    assert stored(database) == expected


def filling() -> str:
    """The statement with which the migration fills the table."""
    found = [script.module for script in ScriptDirectory(str(scripts())).walk_revisions()]
    [statement] = [module.FILL for module in found if hasattr(module, "FILL")]
    return str(statement)


def stored(database: Engine) -> dict[str, tuple[str, str | None, int]]:
    with transaction(database) as connection:
        return {row[0]: tuple(row[1:]) for row in connection.execute(select(verdicts))}
