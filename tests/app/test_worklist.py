"""The worklist: cases and answers by doubt, states, filters, neighbours, names of files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, event, insert

from app.access.caller import Role
from app.records.audit import Actor, AuditTrail
from app.records.database import transaction
from app.records.filters import EVERYTHING, Filter, Scope
from app.records.migrations import migrate
from app.records.reviews import Reviews
from app.records.tables import models, predictions
from app.records.verdicts import Verdict
from app.records.worklist import Worklist, WorkOrder
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, assert_problem, entry_of, write

START = datetime(2026, 3, 1, tzinfo=UTC)
PNG = {"Content-Type": "image/png"}
# Of a model with the band 0.4 to 0.6 and the limit 0.2: case, slide, probability, deviation, decision, doubt.
GIVEN: list[tuple[str | None, str | None, float, float, str, float]] = [
    ("one", "1", 0.2, 0.0, "negative", 0.5),
    ("one", "2", 0.9, 0.05, "positive", 0.25),
    ("one", "1", 0.0, 0.15, "negative", 0.75),
    ("two", "3", 0.5, 0.0, "review", 1.0),
    ("two", None, 1.0, 0.0, "positive", 0.0),
    (None, None, 0.7, 0.0, "positive", 0.75),
]


class Filled:
    """A database with these answers, by their place."""

    def __init__(self, database: Engine) -> None:
        migrate(database)
        self.worklist = Worklist(database)
        self._reviews = Reviews(database, AuditTrail(database))
        manifest = '{"review_band": [0.4, 0.6], "consistency": {"limit": 0.2}, "orbit": null}'
        filled: dict[str, Any] = {column.name: "-" for column in models.columns if not column.nullable}
        answers = []
        for place, (case, slide, probability, deviation, decision, _) in enumerate(GIVEN):
            answer = answer_of(
                START + timedelta(seconds=place),
                case_id=case,
                slide_id=slide,
                probability=probability,
                decision=decision,
            )
            entry = entry_of(answer, Rotations.FULL, f"key-{place % 2}")
            entry.values["max_deviation"] = deviation
            write(database, entry)
            answers.append(answer)
        model = filled | {
            "id": answers[0].model.sha256,
            "manifest": manifest,
            "uploaded_at": START,
            "size": 0,
            "data": b"",
        }
        with transaction(database) as connection:
            connection.execute(insert(models), model)
        self.ids = [str(answer.id) for answer in answers]
        self._answers = answers

    def judge(self, place: int, person: str, verdict: Verdict) -> None:
        assert self._reviews.add(self._answers[place].id, verdict, "", Actor(person)) is not None

    def answers(self, wanted: Filter = EVERYTHING, order: WorkOrder = WorkOrder.DOUBT, **more: Any) -> list[int]:
        return [self.ids.index(each.id) for each in self.worklist.answers(wanted, order, 10, **more)]

    def beside(self, place: int, person: str = "A", **wanted: Any) -> tuple[int | None, int | None, int | None, int]:
        found = self.worklist.beside(self.ids[place], Filter(**wanted), WorkOrder.DOUBT, person)
        places = [
            None if each is None else self.ids.index(each) for each in (found.previous, found.next, found.next_left)
        ]
        return places[0], places[1], places[2], found.left


@pytest.fixture
def filled(database: Engine) -> Filled:
    return Filled(database)


def test_answers_are_listed_by_doubt_and_by_time(filled: Filled) -> None:
    found = filled.worklist.answers(EVERYTHING, WorkOrder.DOUBT, 10)
    assert [each.doubt for each in found] == pytest.approx([1.0, 0.75, 0.75, 0.5, 0.25, 0.0])
    assert filled.answers() == [3, 5, 2, 0, 1, 4]
    assert filled.answers(order=WorkOrder.NEWEST) == [5, 4, 3, 2, 1, 0]
    assert filled.answers(order=WorkOrder.OLDEST, offset=4) == [4, 5]
    assert filled.answers(Filter(case_id="one")) == [2, 0, 1]  # by slide
    assert filled.answers(Filter(case_id="two")) == [3, 4]
    assert filled.answers(Filter(uncased=True)) == [5]
    assert filled.answers(Filter(scope=Scope("key-1"))) == [3, 5, 1]


def test_cases_count_their_states(filled: Filled) -> None:
    for place, person, verdict in ((0, "A", "agree"), (3, "A", "agree"), (3, "B", "disagree"), (5, "A", "unsure")):
        filled.judge(place, person, verdict)  # type: ignore[arg-type]
    found = filled.worklist.cases(EVERYTHING, WorkOrder.DOUBT, 10)
    counted = {
        each.case_id: (each.state, each.answers, each.slides, each.open, each.judged, each.disagreed) for each in found
    }
    assert counted == {
        "two": ("disagreed", 2, 1, 1, 0, 1),
        None: ("open", 1, 0, 1, 0, 0),
        "one": ("open", 3, 2, 2, 1, 0),
    }
    assert [each.doubt for each in found] == pytest.approx([1.0, 0.75, 0.75])
    assert (found[0].first, found[0].last) == (START + timedelta(seconds=3), START + timedelta(seconds=4))
    for order, expected in ((WorkOrder.NEWEST, [None, "two", "one"]), (WorkOrder.OLDEST, ["one", "two", None])):
        assert [each.case_id for each in filled.worklist.cases(EVERYTHING, order, 10)] == expected
    disagreed = filled.worklist.cases(Filter(state="disagreed"), WorkOrder.DOUBT, 10)
    assert [(each.case_id, each.answers) for each in disagreed] == [("two", 2)]
    assert [each.case_id for each in filled.worklist.cases(Filter(state="judged"), WorkOrder.DOUBT, 10)] == ["one"]


def test_states_and_own_verdicts_are_listed_and_filtered(filled: Filled) -> None:
    filled.judge(0, "A", "agree")
    filled.judge(2, "A", "unsure")
    filled.judge(2, "A", "disagree")
    assert filled.answers(Filter(state="judged")) == [2, 0]
    assert filled.answers(Filter(state="open")) == [3, 5, 1, 4]
    assert filled.answers(Filter(unread_by="A")) == [3, 5, 1, 4]
    assert filled.answers(Filter(unread_by="B", state="judged")) == [2, 0]

    def row(place: int, person: str, blind: bool = True) -> tuple[str, str | None, str | None, int]:
        found = filled.worklist.answers(EVERYTHING, WorkOrder.OLDEST, 10, person=person, blind=blind)[place]
        return found.state, found.verdict, found.own, found.readers

    assert row(2, "A") == ("judged", "disagree", "disagree", 1)
    assert row(2, "B") == ("judged", None, None, 1)
    assert row(2, "B", blind=False) == ("judged", "disagree", None, 1)
    assert row(1, "A") == ("open", None, None, 0)


def test_the_next_answer_is_one_that_is_left(filled: Filled) -> None:
    assert filled.beside(3) == (None, 5, 5, 6)
    filled.judge(5, "A", "agree")
    filled.judge(2, "B", "agree")
    assert filled.beside(3) == (None, 5, 0, 4)
    assert filled.beside(4) == (1, None, 3, 4)  # from the beginning again
    assert filled.beside(5, state="open") == (3, 0, 0, 4)  # no longer in the list itself
    assert filled.beside(3, unread_by="A") == (None, 2, 2, 5)  # a second reader's
    assert filled.beside(3, "B", state="judged", unread_by="B") == (None, 5, 5, 1)
    for place in (0, 1):
        filled.judge(place, "A", "agree")
    assert filled.beside(0, case_id="one") == (2, 1, None, 0)


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, store_names=True) as running:
        yield running


def test_answers_that_are_deleted_while_a_page_is_read(postgres: Engine) -> None:
    filled, other = Filled(postgres), create_engine(postgres.url)

    def delete_all(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "newest" in statement:
            with other.begin() as connection:
                connection.execute(delete(predictions))

    event.listen(postgres, "after_cursor_execute", delete_all)
    try:
        found = filled.worklist.answers(EVERYTHING, WorkOrder.NEWEST, 10)
    finally:
        event.remove(postgres, "after_cursor_execute", delete_all)
        other.dispose()
    assert [each.id for each in found] == filled.ids[::-1]
    assert filled.worklist.answers(EVERYTHING, WorkOrder.NEWEST, 10) == []


def test_the_worklist_over_http(naming: RunningServer, png: bytes) -> None:
    with naming.new_client(Role.PATHOLOGIST) as asker, naming.new_client(Role.REVIEW) as reviewer:
        for place in range(3):
            params = {"rotations": "none", "case_id": f"case-{place // 2}", "slide_id": "s"}
            answer = asker.post("/predict", params=params, content=png, headers=PNG).json()
        assert reviewer.post(f"/predictions/{answer['id']}/reviews", json={"verdict": "disagree"}).status_code == 201
        page = asker.get("/worklist", params={"limit": 1, "order": "newest"}).json()
        [case] = page["cases"]
        assert (case["case_id"], case["state"], case["judged"], case["doubt"], page["next"]) == (
            "case-1",
            "judged",
            1,
            None,
            1,
        )
        assert asker.get("/worklist", params={"offset": 1, "order": "newest"}).json()["next"] is None
        for client, verdict, own in ((asker, None, None), (reviewer, "disagree", "disagree")):
            [found] = client.get("/worklist/answers", params={"state": "judged"}).json()["answers"]
            assert (found["id"], found["verdict"], found["own"]) == (answer["id"], verdict, own)
        assert len(reviewer.get("/worklist/answers", params={"unread": "true"}).json()["answers"]) == 2
        for odd in ({"order": "size"}, {"limit": "0"}, {"offset": "-1"}, {"unread": "perhaps"}, {"nope": "1"}):
            assert_problem(asker.get("/worklist", params=odd), 422, "invalid-parameter")
    with naming.new_client(Role.PREDICT) as stranger, naming.new_client(Role.METRICS) as metrics:
        assert stranger.get("/worklist").json() == {"cases": [], "next": None}
        assert_problem(metrics.get("/worklist"), 403, "forbidden")


def test_the_name_of_a_file_is_kept_where_names_are_stored(
    naming: RunningServer, server: RunningServer, png: bytes
) -> None:
    for running, kept in ((naming, "Präparat 7.png"), (server, None)):
        named = PNG | {"X-File-Name": "Pr%C3%A4parat%207.png"}
        asked = running.client.post("/predict", params={"case_id": "named"}, content=png, headers=named)
        assert (asked.status_code, "Präparat" in asked.text) == (200, False)
        [found] = running.client.get("/worklist/answers", params={"case_id": "named"}).json()["answers"]
        assert found["file_name"] == kept
        assert ("Präparat 7.png" in running.client.get("/predictions/export.csv").text) is (kept is not None)
    for odd in ("", "%00", "%0d%0aX: y", "%ff", "x" * 201):
        refused = naming.client.post("/predict", content=png, headers=PNG | {"X-File-Name": odd})
        assert_problem(refused, 422, "invalid-parameter")
