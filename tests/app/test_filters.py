"""Filters of predictions: results, order and index use."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.event import listen

from app.access.caller import Role
from app.records.filters import Filter, first_id
from app.records.migrations import migrate
from app.records.prediction_queries import Order, PredictionQueries
from app.records.predictions import PredictionLog
from app.records.tables import predictions
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, assert_problem, entry_of, write

PNG = {"Content-Type": "image/png"}
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OLD, NEW = ({"name": name, "version": "1.0.0", "sha256": digit * 64} for name, digit in (("old", "a"), ("new", "b")))

# What the six rows are beside the example, oldest first: (key, changes).
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("one", {"model": OLD, "case_id": "case-1", "slide_id": "s.1"}),
    ("one", {"model": OLD, "case_id": "case-1", "slide_id": "s.2", "decision": "review"}),
    ("two", {"model": NEW, "case_id": "case-2", "slide_id": "s.1"}),
    ("two", {"model": NEW, "case_id": None, "slide_id": None, "label": "no_metastasis", "decision": "negative"}),
    ("one", {"model": NEW, "case_id": "case-1", "slide_id": None, "label": None, "decision": "not_assessable"}),
    ("two", {"model": NEW, "case_id": "-", "slide_id": "_", "patch": {"sha256": "c" * 64, "format": "TIFF"}}),
]


@pytest.fixture
def log(database: Engine) -> PredictionLog:
    """Six rows, a second apart from noon on."""
    migrate(database)
    log = PredictionLog(database)
    for number, (key, changes) in enumerate(ROWS):
        write(database, entry_of(answer_of(NOON + number * SECOND, **changes), Rotations.FULL, key))
    return log


def found(log: PredictionLog, wanted: Filter) -> list[int]:
    rows = log.rows((predictions.c.created_at,), 100, wanted)
    return [int((row.created_at - NOON).total_seconds()) for row in rows]


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [5, 4, 3, 2, 1, 0]),
    ({"since": NOON + 2 * SECOND}, [5, 4, 3, 2]),
    ({"since": NOON + 2 * SECOND + timedelta(microseconds=1)}, [5, 4, 3]),
    ({"until": NOON + 2 * SECOND}, [1, 0]),
    ({"until": NOON + 2 * SECOND + timedelta(microseconds=1)}, [2, 1, 0]),
    ({"since": NOON + SECOND, "until": NOON + 4 * SECOND}, [3, 2, 1]),
    ({"since": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, [5, 4, 3, 2, 1, 0]),
    ({"until": datetime.min.replace(tzinfo=UTC)}, []),
    ({"since": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))}, []),
    ({"model": "old"}, [1, 0]),
    ({"model": "b" * 64}, [5, 4, 3, 2]),
    ({"model": "b" * 63}, []),
    ({"label": "no_metastasis"}, [3]),
    ({"decision": "not_assessable"}, [4]),
    ({"patch": "c" * 64}, [5]),
    ({"case_id": "case-1"}, [4, 1, 0]),
    ({"slide_id": "s.1"}, [2, 0]),
    ({"key": "one"}, [4, 1, 0]),
    ({"key": "one", "case_id": "case-1", "model": "new"}, [4]),
    ({"slide_id": "s.1", "until": NOON + SECOND, "label": "metastasis", "decision": "positive", "key": "one"}, [0]),
    ({"slide_id": "s.1", "key": "two", "case_id": "case-1"}, []),
]


def test_filters_find_what_fits_all_of_them_newest_first(log: PredictionLog) -> None:
    for wanted, expected in FILTERS:
        assert found(log, Filter(**wanted)) == expected, wanted


def test_pages_of_a_filter_join(log: PredictionLog) -> None:
    wanted = Filter(model="new")
    first = log.page(3, wanted)
    second = log.page(3, wanted, first.next)
    assert (len(first.answers), len(second.answers), second.next) == (3, 1, None)
    assert first.answers + second.answers == log.page(4, wanted).answers


@pytest.mark.parametrize("order", [Order.NEWEST, Order.OLDEST])
def test_a_page_of_a_range_of_time_costs_the_same_wherever_it_lies(sqlite: Engine, order: Order) -> None:
    """SQLite's steps are counted: it would go through the range from its end to the cursor."""
    migrate(sqlite)
    number, steps = 400, 0
    for place in range(number):
        write(sqlite, entry_of(answer_of(NOON + place * SECOND), Rotations.FULL, "one"))

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(count, 1)

    listen(sqlite, "checkout", watch)
    browsing, costs = PredictionQueries(sqlite), []
    wanted = Filter(since=NOON, until=NOON + number * SECOND)
    cursor: str | None = None
    for _ in range(4):
        steps = 0
        page = browsing.page(order, number // 4, wanted, cursor)
        costs.append(steps)
        assert len(page.rows) == number // 4
        cursor = page.next
    assert cursor is None
    assert max(costs) < 1.1 * costs[0]


def test_an_id_is_not_below_its_times_first_id() -> None:
    answer = answer_of(NOON)
    assert first_id(NOON) <= str(answer.id) < first_id(NOON + timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(), "sqlite_autoindex_predictions_1"),
        (Filter(since=NOON), "sqlite_autoindex_predictions_1 (id>?)"),
        (Filter(label="metastasis", since=NOON), "ix_predictions_label_id (label=? AND id>?)"),
        (Filter(label="metastasis", decision="review"), "ix_predictions_decision_id"),
        (Filter(decision="review", model="old"), "ix_predictions_model_name_id"),
        (Filter(decision="review", model="a" * 64), "ix_predictions_model_sha256_id"),
        (Filter(model="a" * 64, label="metastasis", key="k"), "ix_predictions_key_id_id"),
        (Filter(model="a" * 64, decision="review", key="k"), "ix_predictions_key_id_decision_id"),
        (
            Filter(key="k", case_id="c", since=NOON, until=NOON),
            "ix_predictions_case_id_id (case_id=? AND id>? AND id<?)",
        ),
        (Filter(slide_id="s", case_id="c", label="metastasis"), "ix_predictions_slide_id_id"),
        (Filter(case_id="c", patch="a" * 64, key="k", until=NOON), "ix_predictions_patch_sha256_id"),
    ],
)
def test_sqlite_goes_by_the_most_selective_index_and_sorts_nothing(sqlite: Engine, wanted: Filter, index: str) -> None:
    migrate(sqlite)
    query = select(predictions.c.answer).where(*wanted.conditions()).order_by(predictions.c.id.desc()).limit(51)
    sql = query.compile(sqlite, compile_kwargs={"literal_binds": True})
    with sqlite.connect() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
    assert len(plan) == 1
    assert index in plan[0]


@pytest.mark.parametrize(
    "query",
    [
        "since=2026-13-01",
        "since=2026-05-01T12:00:00",
        "since=2026",
        "until=1777636800",
        "until=yesterday",
        "since=2026-05-01T12:00:00+02:00",  # a + is a space
        "model=",
        "model=%00",
        f"model={'a' * 65}",
        "label=benign",
        "decision=",
        f"patch={'A' * 64}",
        "patch=abc",
        "case_id=",
        f"case_id={'x' * 65}",
        "case_id=M%C3%BCller",
        "slide_id=a%20b",
        "slide_id=a&slide_id=b",
        "key=%00",
        "reviewer=x",
    ],
)
@pytest.mark.parametrize("path", ["/predictions", "/predictions/export.csv", "/predictions/export.jsonl"])
def test_unfit_filters_are_refused(server: RunningServer, path: str, query: str) -> None:
    assert_problem(server.client.get(f"{path}?{query}"), 422, "invalid-parameter")


@pytest.mark.parametrize(
    "query", ["case_id=", "case_id=a/b", "slide_id=%00", f"slide_id={'x' * 65}", "case_id=M%FCller", "case_id=a%0A"]
)
def test_unfit_pseudonyms_are_refused(server: RunningServer, png: bytes, query: str) -> None:
    response = server.client.post(f"/predict?{query}", content=png, headers=PNG)
    assert_problem(response, 422, "invalid-parameter")


def test_filters_over_http(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with RunningServer(tmp_path, artifact_path) as running, running.new_client(Role.PREDICT) as microscope:
        asked = [
            client.post("/predict", content=png, headers=PNG, params={"rotations": "none", "case_id": case}).json()
            for client, case in ((running.client, "a"), (microscope, "a"), (microscope, "b"))
        ]
        assert [answer["case_id"] for answer in asked] == ["a", "a", "b"]
        assert {answer["slide_id"] for answer in asked} == {None}

        def seen(client: Any, **params: str) -> list[int]:
            page = client.get("/predictions", params=params).json()
            assert page["next"] is None
            return [asked.index(answer) for answer in page["predictions"]]

        microscopes = microscope.headers["authorization"][11:23]
        assert seen(running.client, case_id="a") == [1, 0]
        assert seen(running.client, case_id="a", key=microscopes) == [1]
        assert seen(running.client, since=asked[1]["created_at"]) == [2, 1]
        assert seen(running.client, until=asked[1]["created_at"]) == [0]
        assert seen(running.client, since="2026-01-01T00:00:00+01:00", until="2026-01-02T00:00:00Z") == []
        assert seen(running.client, model=asked[0]["model"]["sha256"], label=asked[0]["label"]) == [2, 1, 0]
        assert seen(running.client, model=asked[0]["model"]["name"], patch=asked[0]["patch"]["sha256"]) == [2, 1, 0]
        assert seen(microscope) == [2, 1]
        assert seen(microscope, case_id="a") == [1]
        assert seen(microscope, key=microscopes) == [2, 1]
        assert seen(microscope, key=running.key[4:16]) == []
