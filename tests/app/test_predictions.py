"""Recorded answers can be read again, word for word, with the right role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app.access.caller import Role
from app.records.tables import predictions
from tests.app.conftest import RunningServer, assert_problem

PNG = {"Content-Type": "image/png"}
FAST = {"rotations": "none"}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path, png: bytes) -> Iterator[RunningServer]:
    """A server that has answered five times to its admin."""
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path) as running:
        for _ in range(5):
            assert running.client.post("/predict", content=png, headers=PNG, params=FAST).status_code == 200
        yield running


def test_one_answer_is_the_same_bytes(server: RunningServer, png: bytes) -> None:
    answered = server.client.post("/predict", content=png, headers=PNG)
    read = server.client.get(f"/predictions/{answered.json()['id']}")
    assert read.content == answered.content
    assert read.headers["content-type"] == answered.headers["content-type"] == "application/json"


def test_the_row_holds_the_answer_and_who_asked(server: RunningServer, png: bytes) -> None:
    answer = server.client.post("/predict", content=png, headers=PNG, params={"rotations": "exact"}).json()
    with server.services.database.connect() as connection:
        row = connection.execute(select(predictions).where(predictions.c.id == answer["id"])).one()
    assert row.key_id == server.key[4:16]
    assert (row.model_sha256, row.patch_sha256) == (answer["model"]["sha256"], answer["patch"]["sha256"])
    assert [row.logit_no_metastasis, row.logit_metastasis] == answer["logits"]
    assert (row.probability, row.decision, row.rotations) == (answer["probability"], answer["decision"], "exact")
    assert (row.exact, row.consistent) == (True, None)


def test_pages_join_to_everything_newest_first(asked: RunningServer) -> None:
    everything = asked.client.get("/predictions").json()
    assert everything["next"] is None
    ids = [answer["id"] for answer in everything["predictions"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5
    seen, cursor = [], None
    for size in (2, 2, 1):
        page = asked.client.get("/predictions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["predictions"]) == size
        seen += [answer["id"] for answer in page["predictions"]]
        cursor = page["next"]
    assert (seen, cursor) == (ids, None)
    assert asked.client.get("/predictions", params={"limit": 5}).json()["next"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "page=1", "limit=1&limit=2"])
def test_bad_queries_are_refused(server: RunningServer, query: str) -> None:
    assert_problem(server.client.get(f"/predictions?{query}"), 422, "invalid-parameter")


def test_unknown_ids(server: RunningServer) -> None:
    unknown = "01900000-0000-7000-8000-000000000000"
    assert_problem(server.client.get(f"/predictions/{unknown}"), 404, "unknown-prediction")
    assert_problem(server.client.get("/predictions/x"), 422, "invalid-parameter")
    assert_problem(server.client.get(f"/predictions/{unknown}?x=1"), 422, "invalid-parameter")


def test_who_may_see_what(asked: RunningServer, png: bytes) -> None:
    def seen(client: httpx.Client) -> set[str]:
        return {answer["id"] for answer in client.get("/predictions").json()["predictions"]}

    with asked.new_client(Role.PREDICT) as own, asked.new_client(Role.READ) as reader:
        others = seen(asked.client)
        assert seen(own) == set()
        mine = own.post("/predict", content=png, headers=PNG, params=FAST).json()["id"]
        assert seen(own) == {mine}
        assert own.get(f"/predictions/{mine}").status_code == 200
        assert_problem(own.get(f"/predictions/{next(iter(others))}"), 404, "unknown-prediction")
        assert seen(reader) == seen(asked.client) == others | {mine}
        assert_problem(reader.post("/predict", content=png, headers=PNG), 403, "forbidden")
