"""A repeated request is answered and recorded once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, delete, func, insert, select, text, update

from app.access.caller import Role
from app.problems import IdempotencyMismatch
from app.records.database import transaction
from app.records.idempotency import Repeatable, claim, fingerprint
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.tables import idempotency, predictions
from model_zoo.orbit import Rotations
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, answer_of, assert_problem, encoded, entry_of, row_of, write

PNG = {"Content-Type": "image/png"}
FAST = {"rotations": "none"}
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def served(database_url: str, tmp_path: Path, artifact_path: Path) -> Iterator[RunningServer]:
    """A server on each of the databases."""
    with RunningServer(tmp_path / "home", artifact_path, database_url=database_url) as running:
        yield running


def ask(client: httpx.Client, png: bytes, key: str, **params: str) -> httpx.Response:
    return client.post("/predict", content=png, headers=PNG | {"Idempotency-Key": key}, params=FAST | params)


def test_a_repeat_gets_the_first_answer_word_for_word(served: RunningServer, png: bytes) -> None:
    first = ask(served.client, png, "a", case_id="case-1")
    again = ask(served.client, png, "a", case_id="case-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    form = served.client.post(
        "/predict", files={"file": png}, headers={"Idempotency-Key": "a"}, params=FAST | {"case_id": "case-1"}
    )
    assert form.content == first.content, "the same image in a form is the same request"
    assert served.recorded() == 1
    assert ask(served.client, png, "b", case_id="case-1").json()["id"] != first.json()["id"]


def test_a_repeat_with_another_patch_or_parameters_is_refused(served: RunningServer, png: bytes) -> None:
    first = ask(served.client, png, "a", slide_id="slide-1")
    other = encoded(synthetic_patch("normal", 1))
    for response in (
        ask(served.client, other, "a", slide_id="slide-1"),
        ask(served.client, png, "a", slide_id="slide-2"),
        ask(served.client, png, "a", case_id="slide-1"),
        ask(served.client, png, "a"),
        ask(served.client, png, "a", slide_id="slide-1", rotations="exact"),
    ):
        assert_problem(response, 422, "idempotency-mismatch")
    assert served.recorded() == 1
    assert ask(served.client, png, "a", slide_id="slide-1").content == first.content


def test_requests_that_arrive_at_once_are_one(served: RunningServer, png: bytes) -> None:
    async def ask_at_once() -> list[httpx.Response]:
        headers = PNG | {"Authorization": f"Bearer {served.key}", "Idempotency-Key": "a"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=120) as client:
            return await asyncio.gather(*(client.post("/predict", content=png, params=FAST) for _ in range(8)))

    responses = asyncio.run(ask_at_once())
    assert [response.status_code for response in responses] == [200] * 8
    assert len({response.content for response in responses}) == 1
    assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
    assert served.recorded() == 1


def test_after_24_hours_a_key_is_new_again(served: RunningServer, png: bytes) -> None:
    def age(by: timedelta) -> None:
        with served.services.database.begin() as connection:
            connection.execute(update(idempotency).values(created_at=datetime.now(UTC) - by))

    first = ask(served.client, png, "a")
    age(timedelta(hours=23, minutes=59))
    assert ask(served.client, png, "a").content == first.content
    age(timedelta(hours=24))
    other = encoded(synthetic_patch("normal", 1))
    second = ask(served.client, other, "a")
    assert second.status_code == 200
    assert second.json()["patch"] != first.json()["patch"]
    assert ask(served.client, other, "a").content == second.content
    assert served.recorded() == 2
    with served.services.database.connect() as connection:
        [remembered] = connection.execute(select(idempotency.c.prediction_id)).scalars()
    assert remembered == second.json()["id"]


def test_problems_are_not_remembered(server: RunningServer, png: bytes) -> None:
    assert_problem(ask(server.client, b"hello", "broken"), 422, "not-an-image")
    assert ask(server.client, png, "broken").status_code == 200


def test_each_api_key_has_keys_of_its_own(server: RunningServer, png: bytes) -> None:
    with server.new_client(Role.PREDICT) as one, server.new_client(Role.PREDICT) as other:
        assert ask(one, png, "own").json()["id"] != ask(other, png, "own").json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "ä"])
def test_unfit_keys_are_refused(server: RunningServer, png: bytes, key: str) -> None:
    before = server.recorded()
    headers = {b"Content-Type": b"image/png", b"Idempotency-Key": key.encode("latin-1")}
    assert_problem(server.client.post("/predict", content=png, headers=headers, params=FAST), 422, "invalid-parameter")
    assert server.recorded() == before


def test_two_keys_are_one_too_many(server: RunningServer, png: bytes) -> None:
    headers = [("Content-Type", "image/png"), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    problem = assert_problem(server.client.post("/predict", content=png, headers=headers), 422, "invalid-parameter")
    assert "occurs 2 times" in problem["detail"]


def test_any_visible_character_will_do(server: RunningServer, png: bytes) -> None:
    key = "".join(map(chr, range(33, 127)))
    assert ask(server.client, png, key).content == ask(server.client, png, key).content


@pytest.mark.parametrize("same", [True, False])
def test_who_comes_second_waits_for_the_first_ones_answer(database: Engine, same: bool) -> None:
    migrate(database)
    log = PredictionLog(database)
    first, second = answer_of(MOMENT), answer_of(MOMENT)
    request = Repeatable("key", "a", fingerprint(b"patch", "full"))
    repeated = request if same else Repeatable("key", "a", fingerprint(b"another", "full"))
    found: list[str] = []

    def repeat() -> None:
        result = write(database, entry_of(second, Rotations.FULL, "key", repeated))
        if isinstance(result, IdempotencyMismatch):
            found.append(result.slug)
        else:
            found.append(result.text if result.replayed else "recorded twice")

    thread = threading.Thread(target=repeat)
    with transaction(database) as connection:
        assert claim(connection, request, str(first.id)) is None
        connection.execute(insert(predictions), row_of(first, Rotations.FULL, "key"))
        thread.start()
        if database.dialect.name == "postgresql":
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            with database.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
                while watching.execute(waiting).scalar() == 0:
                    assert thread.is_alive()
        assert found == []
    thread.join(30)
    assert found == [first.model_dump_json() if same else "idempotency-mismatch"]
    assert log.page(10).answers == [first.model_dump_json()]


def test_an_answer_that_was_not_recorded_claims_nothing(database: Engine) -> None:
    migrate(database)
    log = PredictionLog(database)
    answer = answer_of(MOMENT)
    write(database, entry_of(answer, Rotations.FULL, "key"))
    request = Repeatable("key", "a", fingerprint(b"patch"))
    with pytest.raises(Exception, match="The database failed"):
        write(database, entry_of(answer, Rotations.FULL, "key", request))  # its id is taken
    assert log.first_answer(request) is None
    with database.connect() as connection:
        assert connection.execute(select(func.count()).select_from(idempotency)).scalar() == 0


def test_a_deleted_prediction_answers_nothing(database: Engine) -> None:
    migrate(database)
    log = PredictionLog(database)
    request = Repeatable("key", "a", fingerprint(b"patch"))
    write(database, entry_of(answer_of(MOMENT), Rotations.FULL, "key", request))
    with database.begin() as connection:
        connection.execute(delete(predictions))
    assert log.first_answer(request) is None


def test_fingerprints_tell_requests_apart() -> None:
    parameters = [("full", None), ("full", "x"), (None, "full"), ("full",), ("fu", "ll"), ("full", "null")]
    prints = {fingerprint(data, *each) for data in (b"a", b"b", b"") for each in parameters}
    assert len(prints) == 3 * len(parameters)
