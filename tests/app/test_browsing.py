"""Lists of answers in every order, without gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from app.access.caller import Role
from app.access.keys import Keys
from app.records import prediction_queries as module
from app.records.audit import AuditTrail
from app.records.filters import EVERYTHING, Filter
from app.records.migrations import migrate
from app.records.prediction_queries import ListedPrediction, Order, PredictionQueries
from app.records.reviews import Reviews
from app.records.verdicts import Standing
from model_zoo.orbit import Rotations
from tests.app.conftest import TESTER, answer_of, entry_of, write

START = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
NUMBER = 23


def probability(place: int) -> float | None:
    return None if place % 7 == 3 else place * 5 % 11 / 11


def changes(place: int) -> dict[str, Any]:
    sure = probability(place)
    return {
        "probability": sure,
        "label": None if sure is None else "metastasis",
        "decision": "not_assessable" if sure is None else "review" if place % 2 else "positive",
        "case_id": f"case-{place % 2}",
    }


@pytest.fixture
def key_id(database: Engine) -> str:
    migrate(database)
    return Keys(database, AuditTrail(database)).add(Role.PREDICT, "microscope", TESTER).id


@pytest.fixture
def browsing(database: Engine, key_id: str) -> PredictionQueries:
    for place in range(NUMBER):
        answer = answer_of(START + timedelta(minutes=10 * place), **changes(place))
        write(database, entry_of(answer, Rotations.FULL, key_id if place else "settings"))
    return PredictionQueries(database)


def everything(
    browsing: PredictionQueries, order: Order, wanted: Filter = EVERYTHING, limit: int = 4
) -> list[ListedPrediction]:
    rows: list[ListedPrediction] = []
    cursor = None
    while True:
        page = browsing.page(order, limit, wanted, cursor)
        assert len(page.rows) <= limit
        rows += page.rows
        if page.next is None:
            return rows
        cursor = page.next


@pytest.mark.parametrize("limit", [4, NUMBER, 100])
def test_pages_join_to_everything_in_order(browsing: PredictionQueries, limit: int) -> None:
    orders = {order: everything(browsing, order, limit=limit) for order in Order}
    for rows in orders.values():
        assert len({row.id for row in rows}) == len(rows) == NUMBER
    newest = [row.id for row in orders[Order.NEWEST]]
    assert newest == sorted(newest, reverse=True)
    assert [row.id for row in orders[Order.OLDEST]] == newest[::-1]
    largest = [(-1.0 if row.probability is None else row.probability, row.id) for row in orders[Order.PROBABILITY]]
    assert largest == sorted(largest, reverse=True)
    deviations = [(row.max_deviation, row.id) for row in orders[Order.DEVIATION]]
    assert deviations == sorted(deviations, reverse=True)


def test_a_filter_confines_every_order(browsing: PredictionQueries) -> None:
    for order in Order:
        rows = everything(browsing, order, Filter(case_id="case-1", decision="review"))
        assert rows
        assert {(row.case_id, row.decision) for row in rows} == {("case-1", "review")}


def test_the_largest_are_looked_for_among_the_newest(
    browsing: PredictionQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AMONG", 5)
    newest = [row.id for row in everything(browsing, Order.NEWEST)][:5]
    assert {row.id for row in everything(browsing, Order.PROBABILITY)} == set(newest)


def test_keys_are_named_where_they_are_known(browsing: PredictionQueries, key_id: str) -> None:
    found = {(row.key_id, row.key_name) for row in everything(browsing, Order.NEWEST)}
    assert found == {(key_id, "microscope"), ("settings", None)}


def test_verdicts_are_hidden_from_who_has_not_judged(browsing: PredictionQueries, database: Engine) -> None:
    judged, other = (row.id for row in browsing.page(Order.NEWEST, 2, EVERYTHING).rows)
    reviews = Reviews(database, AuditTrail(database))
    reviews.add(UUID(judged), "unsure", "", TESTER)
    reviews.add(UUID(judged), "agree", "", TESTER)
    seen, hidden = Standing("judged", "agree", 1), Standing("judged", None, 1)
    assert browsing.standings([judged, other]) == browsing.standings([judged], TESTER.who) == {judged: seen}
    assert browsing.standings([judged, other], "another") == {judged: hidden}
    assert browsing.standings([]) == {}


def test_hours_are_counted(browsing: PredictionQueries) -> None:
    starts = [START + timedelta(hours=hour) for hour in range(-1, 4)]
    hours = browsing.hours(starts, START + timedelta(hours=4))
    assert [hour.start for hour in hours] == starts
    assert [hour.answers for hour in hours] == [0, 6, 6, 6, 5]
    left = [place for place in range(NUMBER) if changes(place)["decision"] == "review"]
    assert [hour.review for hour in hours] == [0] + [sum(place // 6 == hour for place in left) for hour in range(4)]


def test_times_are_those_of_the_newest(browsing: PredictionQueries) -> None:
    assert len(browsing.last_times_ms(5)) == 5
    assert len(browsing.last_times_ms(100)) == NUMBER
