"""Agreement of answers with people's verdicts, and random samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine

from app.access.caller import Role
from app.records.agreement import Agreement, Judged, Month
from app.records.audit import Actor, AuditTrail
from app.records.migrations import migrate
from app.records.retention import Retention
from app.records.reviews import Reviews
from model_zoo.intervals import kappa, wilson
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, assert_problem, entry_of, write

MAY = Month(2026, 5)
MODEL = "ab" * 32
OTHER = "cd" * 32
ANNE, BEN = Actor("Anne (1)"), Actor("Ben (2)")


def recorded(database: Engine, decision: str, day: int, model: str = MODEL) -> UUID:
    about = {"name": "accurate", "version": "1.0.0", "sha256": model}
    answer = answer_of(datetime(2026, 5, day, 12, tzinfo=UTC), decision=decision, model=about)
    write(database, entry_of(answer, Rotations.NONE, "key"))
    return answer.id


def test_only_drawn_answers_give_sensitivity_and_specificity(database: Engine) -> None:
    migrate(database)
    trail = AuditTrail(database)
    agreement, reviews = Agreement(database, trail), Reviews(database, trail)
    decisions = ["positive"] * 6 + ["negative"] * 6 + ["review"] * 2
    answers = {recorded(database, decision, day): decision for day, decision in enumerate(decisions, 1)}
    drawn = agreement.draw(MAY, MODEL, 500, ANNE)
    assert sorted(drawn) == sorted(map(str, answers))
    later = {recorded(database, "positive", 20) for _ in range(3)}
    recorded(database, "positive", 21, OTHER)
    assert agreement.draw(Month(2026, 4), MODEL, 5, ANNE) == []

    ids = list(answers)
    for answer_id in ids[:5]:
        reviews.add(answer_id, "agree", "", ANNE)
    for answer_id in (ids[5], ids[6]):  # a false positive and a false negative
        reviews.add(answer_id, "disagree", "", ANNE)
    for answer_id in ids[7:10]:
        reviews.add(answer_id, "agree", "", ANNE)
    reviews.add(ids[10], "agree", "", ANNE)
    reviews.add(ids[10], "disagree", "", BEN)
    reviews.add(ids[11], "unsure", "", ANNE)
    reviews.add(ids[12], "agree", "", ANNE)
    for answer_id in later:
        reviews.add(answer_id, "disagree", "", BEN)

    [found] = agreement.months(datetime(2026, 6, 2, tzinfo=UTC), 2)
    assert (found.model_sha256, found.month, found.answers, found.drawn) == (MODEL, "2026-05", 17, 14)
    assert (found.reviewed, found.drawn_reviewed) == (15, 12)
    assert (found.random.sensitivity.count, found.random.sensitivity.n) == (5, 6)
    assert (found.random.specificity.count, found.random.specificity.n) == (3, 4)
    assert (found.random.left, found.random.disputed) == (1, 1)
    assert found.random.kappa == pytest.approx((0.8 - 0.52) / 0.48)
    assert (found.others.agreement.count, found.others.agreement.n) == (0, 3)
    assert found.others.kappa == 0
    assert agreement.months(datetime(2026, 6, 2, tzinfo=UTC), 1) == []
    assert agreement.months(datetime(2026, 5, 2, tzinfo=UTC), 1, OTHER) == []
    assert sorted(agreement.waiting(10)) == sorted(map(str, (ids[11], ids[13])))

    assert Retention(database, trail, 1, lambda: datetime(2026, 7, 1, tzinfo=UTC)).delete_some() == 18
    assert agreement.waiting(10) == []


def test_a_second_draw_takes_answers_that_are_not_drawn_and_is_audited(database: Engine) -> None:
    migrate(database)
    trail = AuditTrail(database)
    agreement = Agreement(database, trail)
    ids = {str(recorded(database, "positive", 1 + day % 30)) for day in range(20)}
    first, second = (agreement.draw(MAY, MODEL, 8, ANNE) for _ in range(2))
    assert (len(first), len(second)) == (8, 8)
    assert set(first) | set(second) <= ids
    assert not set(first) & set(second)
    assert len(agreement.draw(MAY, MODEL, 8, ANNE)) == 4
    assert agreement.draw(MAY, MODEL, 8, ANNE) == []
    assert [row.action for row in trail.page(10).entries] == ["agreement.sample"] * 3


def test_months_end_where_the_next_begin() -> None:
    assert Month.of(datetime(2026, 1, 1, 0, 30, tzinfo=UTC) - timedelta(hours=1)) == Month(2025, 12)
    assert (str(Month(2025, 12).plus(1)), str(Month(2026, 1).plus(-13))) == ("2026-01", "2024-12")
    assert Month(2025, 12).ids[1] == Month(2026, 1).ids[0]


def test_figures_of_nothing_are_none() -> None:
    nothing = Judged()
    assert (nothing.kappa, nothing.sensitivity.value, nothing.sensitivity.interval) == (None, None, (None, None))
    assert kappa(5, 0, 0, 0) is None
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)  # Cohen's example
    assert wilson(0, 10)[0] == 0


def test_the_routes(server: RunningServer, png: bytes) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    with server.new_client(Role.REVIEW) as reviewer, server.new_client(Role.READ) as reader:
        asked = server.client.post("/predict", content=png, headers={"Content-Type": "image/png"}).json()
        sample = reviewer.post("/agreement/sample", json={"month": month, "n": 500})
        assert sample.status_code == 201
        assert asked["id"] in sample.json()["drawn"]
        assert asked["id"] in reviewer.get("/agreement/sample").json()["waiting"]
        assert reviewer.post(f"/predictions/{asked['id']}/reviews", json={"verdict": "agree"}).status_code == 201
        assert asked["id"] not in reviewer.get("/agreement/sample").json()["waiting"]
        found = next(
            each
            for each in reader.get("/agreement").json()["months"]
            if each["model_sha256"] == asked["model"]["sha256"]
        )
        assert found["month"] == month
        assert found["drawn_reviewed"]["count"] >= 1
        assert set(found["others"]) == {"agreement", "kappa", "left", "disputed"}
        assert_problem(reader.post("/agreement/sample", json={"month": month, "n": 1}), 403, "forbidden")
        for wrong in ({"month": "2026-13", "n": 1}, {"month": month, "n": 501}, {"n": 1}, {"month": month, "n": "1"}):
            assert_problem(reviewer.post("/agreement/sample", json=wrong), 422, "invalid-json")
        assert_problem(reader.get("/agreement?months=37"), 422, "invalid-parameter")
    for role in (Role.PREDICT, Role.PATHOLOGIST):
        with server.new_client(role) as asker:
            assert_problem(asker.get("/agreement"), 403, "forbidden")
            assert_problem(asker.get("/agreement/sample"), 403, "forbidden")
            assert_problem(asker.post("/agreement/sample", json={"month": month, "n": 1}), 403, "forbidden")
