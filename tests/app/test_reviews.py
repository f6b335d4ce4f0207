"""Reviews by people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.access.caller import Role
from app.records.audit import AuditTrail
from tests.app.conftest import RunningServer, assert_problem

PNG = {"Content-Type": "image/png"}
NOTE = "Keimzentrum,\nkein Tumor"


@pytest.fixture
def answer(server: RunningServer, png: bytes) -> dict[str, Any]:
    found: dict[str, Any] = server.client.post("/predict", content=png, headers=PNG).json()
    return found


def test_reviews_stand_beside_the_answer_and_in_the_audit_trail(server: RunningServer, answer: dict[str, Any]) -> None:
    path = f"/predictions/{answer['id']}"
    with server.new_client(Role.REVIEW) as reviewer, server.new_client(Role.REVIEW) as other:
        first = reviewer.post(f"{path}/reviews", json={"verdict": "disagree", "note": NOTE})
        second = other.post(f"{path}/reviews", json={"verdict": "agree"})
        assert (first.status_code, second.status_code) == (201, 201)
        assert reviewer.get(f"{path}/reviews").json()["reviews"] == [first.json(), second.json()]
        assert reviewer.get(path).json() == answer
    assert first.json()["note"] == NOTE
    assert first.json()["reviewed_at"].endswith("Z")
    newest = AuditTrail(server.services.database).page(1).entries[0]
    assert (newest.action, newest.subject, newest.who) == (
        "prediction.review",
        answer["id"],
        second.json()["reviewer"],
    )
    assert json.loads(newest.after or "")["verdict"] == "agree"


@pytest.mark.parametrize("role", [Role.PREDICT, Role.READ, Role.METRICS])
def test_other_roles_do_not_review(server: RunningServer, answer: dict[str, Any], role: Role) -> None:
    with server.new_client(role) as client:
        response = client.post(f"/predictions/{answer['id']}/reviews", json={"verdict": "agree"})
        assert_problem(response, 403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "maybe"},
        {"verdict": "agree", "label": "x"},
        {"verdict": "agree", "note": "x" * 4001},
        {"verdict": "agree", "note": "two\nlines, and a NUL: \0"},
    ],
)
def test_other_bodies_are_refused(server: RunningServer, answer: dict[str, Any], body: dict[str, str]) -> None:
    assert_problem(server.client.post(f"/predictions/{answer['id']}/reviews", json=body), 422, "invalid-json")
    assert server.client.get(f"/predictions/{answer['id']}/reviews").json()["reviews"] == []


def test_what_was_not_answered_is_not_reviewed(server: RunningServer) -> None:
    nothing = "/predictions/01900000-0000-7000-8000-000000000000/reviews"
    assert_problem(server.client.post(nothing, json={"verdict": "agree"}), 404, "unknown-prediction")
    assert_problem(server.client.get(nothing), 404, "unknown-prediction")
