"""Who may judge which answers, and who sees which verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from app.access.caller import Role
from app.records.audit import Actor, AuditTrail
from app.records.filters import Filter, Scope
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.reviews import Reviews
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, assert_problem, entry_of, write

PNG = {"Content-Type": "image/png"}


class People:
    """Keys of the roles, and the answer of a pathologist's request about a case."""

    def __init__(self, server: RunningServer, png: bytes, stack: ExitStack) -> None:
        self.asker = stack.enter_context(server.new_client(Role.PATHOLOGIST))
        self.first, self.second, self.third = (stack.enter_context(server.new_client(Role.REVIEW)) for _ in range(3))
        self.case = f"case-{uuid4()}"
        self.answer = self.ask(self.asker, png)
        self.path = f"/predictions/{self.answer['id']}"

    def ask(self, client: httpx.Client, png: bytes) -> dict[str, Any]:
        response = client.post("/predict", params={"case_id": self.case}, content=png, headers=PNG)
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found

    def judge(self, client: httpx.Client, verdict: str, **more: str) -> httpx.Response:
        return client.post(f"{self.path}/reviews", json={"verdict": verdict} | more)

    def seen(self, client: httpx.Client) -> tuple[str, str | None, list[str]]:
        found = client.get(f"{self.path}/reviews").json()
        return found["state"], found["verdict"], [each["verdict"] for each in found["reviews"]]


@pytest.fixture
def people(server: RunningServer, png: bytes) -> Iterator[People]:
    with ExitStack() as stack:
        yield People(server, png, stack)


def test_a_second_reader_is_blind_a_third_decides(server: RunningServer, people: People, png: bytes) -> None:
    assert people.seen(people.first) == ("open", None, [])
    assert people.judge(people.first, "agree").status_code == 201
    assert people.seen(people.first) == ("judged", "agree", ["agree"])
    assert people.seen(people.second) == people.seen(people.asker) == ("judged", None, [])
    assert people.judge(people.second, "disagree").status_code == 201
    for client in (people.first, people.second, people.third, people.asker):
        assert people.seen(client) == ("disagreed", None, ["agree", "disagree"])
    assert people.judge(people.third, "disagree").status_code == 201
    assert people.seen(people.second) == ("judged", "disagree", ["agree", "disagree", "disagree"])
    assert people.judge(people.second, "agree").status_code == 201  # a person's latest counts
    assert people.seen(people.first)[:2] == ("judged", "agree")
    assert people.judge(people.asker, "unsure").status_code == 201
    assert people.seen(people.asker)[:2] == ("judged", "agree")
    for state, ids in (("judged", [people.answer["id"]]), ("open", []), ("disagreed", [])):
        found = server.client.get("/predictions", params={"case_id": people.case, "state": state}).json()
        assert [each["id"] for each in found["predictions"]] == ids
    assert_problem(server.client.get("/predictions", params={"state": "odd"}), 422, "invalid-parameter")


def test_who_asked_sees_the_verdicts_on_their_answers(server: RunningServer, people: People, png: bytes) -> None:
    with server.new_client(Role.PREDICT) as microscope, server.new_client(Role.PREDICT) as other:
        people.path = f"/predictions/{people.ask(microscope, png)['id']}"
        assert people.judge(people.first, "disagree", note="Histiocytes.").status_code == 201
        assert people.seen(microscope) == ("judged", "disagree", ["disagree"])
        assert_problem(other.get(f"{people.path}/reviews"), 404, "unknown-prediction")
        assert_problem(people.judge(microscope, "agree"), 403, "forbidden")


def test_a_pathologist_asks_judges_and_reads_its_cases(server: RunningServer, people: People, png: bytes) -> None:
    with server.new_client(Role.PATHOLOGIST) as stranger, server.new_client(Role.PREDICT) as microscope:
        same_case = people.ask(microscope, png)
        read = people.asker.get("/predictions", params={"case_id": people.case}).json()["predictions"]
        assert [each["id"] for each in read] == [same_case["id"], people.answer["id"]]
        assert (
            people.asker.post(f"/predictions/{same_case['id']}/reviews", json={"verdict": "agree"}).status_code == 201
        )
        exported = people.asker.get("/predictions/export.jsonl").text.splitlines()
        assert len(exported) == 2
        for path in (people.path, f"{people.path}/patch", f"{people.path}/reviews"):
            assert_problem(stranger.get(path), 404, "unknown-prediction")
        assert_problem(people.judge(stranger, "agree"), 404, "unknown-prediction")
        assert stranger.get("/predictions").json()["predictions"] == []
        assert stranger.get("/predictions/export.jsonl").text == ""
        assert_problem(stranger.get("/drift"), 403, "forbidden")
    assert people.seen(people.asker) == ("open", None, [])


def test_a_verdict_about_another_picture_is_refused(server: RunningServer, people: People) -> None:
    own, wrong = people.answer["patch"]["sha256"], "0" * 64
    refused = assert_problem(people.judge(people.first, "agree", patch_sha256=wrong), 409, "wrong-picture")
    assert (refused["found"], refused["expected"]) == (wrong, own)
    assert_problem(people.judge(people.first, "agree", patch_sha256="no hash"), 422, "invalid-json")
    assert people.seen(people.first) == ("open", None, [])
    assert people.judge(people.first, "agree", patch_sha256=own).status_code == 201


def test_a_replaced_keys_reader_is_no_second_one(server: RunningServer, people: People) -> None:
    old = server.new_key(Role.REVIEW)
    with server.client_of(old) as before:
        assert people.judge(before, "agree").status_code == 201
    new = server.client.post(f"/admin/keys/{old[4:16]}/rotate", json={"days": 3}).json()["key"]
    with server.client_of(new) as after:
        assert people.seen(after)[:2] == ("judged", "agree"), "their own verdict is stored: they see it"
        assert people.judge(after, "disagree").status_code == 201
        assert people.seen(after)[:2] == ("judged", "disagree"), "the latest of one person counts"


def test_an_export_leaves_readers_blind(server: RunningServer, people: People) -> None:
    def verdicts_of(client: httpx.Client) -> list[str | None]:
        lines = client.get("/predictions/export.jsonl", params={"case_id": people.case}).text.splitlines()
        return [json.loads(line)["record"]["review"]["verdict"] for line in lines]

    assert people.judge(people.first, "agree").status_code == 201
    assert (verdicts_of(people.first), verdicts_of(people.second)) == (["agree"], [None])
    assert verdicts_of(server.client) == ["agree"]
    assert people.judge(people.second, "agree").status_code == 201
    assert verdicts_of(people.second) == ["agree"]


def test_scopes_and_states_in_both_databases(database: Engine) -> None:
    migrate(database)
    log, reviews = PredictionLog(database), Reviews(database, AuditTrail(database))
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    ids = []
    for number, (key, case) in enumerate([("a", "1"), ("b", "1"), ("b", "2"), ("c", None), ("a", None)]):
        answer = answer_of(moment + timedelta(seconds=number), case_id=case)
        write(database, entry_of(answer, Rotations.FULL, key))
        ids.append(answer.id)

    def found(**wanted: Any) -> list[int]:
        page = log.page(10, Filter(**wanted)).answers
        return [ids.index(each) for each in reversed(ids) if any(str(each) in text for text in page)]

    assert found(scope=Scope("a", cases=True)) == [4, 1, 0]
    assert found(scope=Scope("a")) == [4, 0]
    assert found(scope=Scope("c", cases=True)) == [3]
    assert found(scope=Scope("nobody", cases=True)) == []
    assert log.find(ids[1], Scope("a", cases=True)) is not None
    assert log.find(ids[2], Scope("a", cases=True)) is None
    assert reviews.add(ids[2], "agree", "", Actor("A"), Scope("a", cases=True)) is None
    for person, verdict in (("A", "agree"), ("B", "disagree")):
        assert reviews.add(ids[1], verdict, "", Actor(person), Scope("a", cases=True)) is not None  # type: ignore[arg-type]
    reviews.add(ids[0], "agree", "", Actor("A"))
    reviews.add(ids[4], "unsure", "", Actor("A"))
    assert (found(state="open"), found(state="judged"), found(state="disagreed")) == ([4, 3, 2], [0], [1])
    assert found(state="open", scope=Scope("a", cases=True)) == [4]
