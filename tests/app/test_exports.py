"""Exports: content, roles, and audit rows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, insert, text

from app.access.caller import Role
from app.api.exports import ACTION
from app.records.audit import AuditRow
from app.records.exports import CSV, CSV_NAMES, JSONL, MAX_ROWS, piece
from app.records.filters import EVERYTHING, Filter
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.tables import predictions
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, assert_problem, row_of
from tests.conftest import ROOT

FORMATS = ["csv", "jsonl"]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MANY = 20_000  # some 30 MB: more than sockets and the server hold of a stream that is not read


def fill(engine: Engine, number: int) -> list[str]:
    """Rows a second apart, of cases of 1000; gives their ids, newest first."""
    template = row_of(answer_of(NOON), Rotations.FULL, "a key")
    ids = [str(answer_of(NOON + timedelta(seconds=place)).id) for place in range(number)]
    rows = [template | {"id": each, "case_id": f"case-{place // 1000}"} for place, each in enumerate(ids)]
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)
    return ids[::-1]


def exports_in_the_trail(server: RunningServer, number: int) -> list[AuditRow]:
    """The newest audit rows, which are awaited: a row is written after its export has left."""
    until = monotonic() + 120
    while True:
        entries = [entry for entry in server.services.audit.page(200).entries if entry.action == ACTION]
        if len(entries) >= number:
            return entries
        assert monotonic() < until
        sleep(0.02)


@pytest.fixture
def asked(tmp_path: Path, artifact_path: Path, png: bytes) -> Iterator[tuple[RunningServer, list[dict[str, Any]]]]:
    """A server of this test's own, and its three answers, newest first."""
    with RunningServer(tmp_path, artifact_path) as running:
        answers = [
            running.client.post(
                "/predict",
                content=png,
                headers={"Content-Type": "image/png"},
                params={"rotations": rotations, "case_id": case_id},
            ).json()
            for rotations, case_id in (("full", "1x"), ("exact", "-case"), ("none", "case"))
        ]
        yield running, answers[::-1]


def test_json_lines_are_the_answers_word_for_word(asked: tuple[RunningServer, list[dict[str, Any]]]) -> None:
    server, answers = asked
    response = server.client.get("/predictions/export.jsonl")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["content-disposition"] == 'attachment; filename="predictions.jsonl"'
    lines = response.text.splitlines()
    for line, answer in zip(lines, answers, strict=True):
        text = server.client.get(f"/predictions/{answer['id']}").text
        assert line.startswith(text[:-1] + ',"record":{')
        record = json.loads(line)["record"]
        assert (record["key_id"], record["file_name"]) == (server.key[4:16], None)
        assert record["review"] == {"state": "open", "verdict": None, "readers": 0}


def test_verdicts_and_the_keys_name_are_exported(asked: tuple[RunningServer, list[dict[str, Any]]]) -> None:
    server, answers = asked
    with server.new_client(Role.REVIEW) as reviewer:
        for client in (server.client, reviewer):
            said = {"verdict": "disagree"}
            assert client.post(f"/predictions/{answers[0]['id']}/reviews", json=said).status_code == 201
    read = list(csv.DictReader(io.StringIO(server.client.get("/predictions/export.csv").text, newline="")))
    assert [(line["review_state"], line["verdict"], line["readers"]) for line in read] == [
        ("judged", "disagree", "2"),
        ("", "", ""),
        ("", "", ""),
    ]
    assert {line["key_name"] for line in read} == {"first admin key"}
    first = json.loads(server.client.get("/predictions/export.jsonl").text.splitlines()[0])
    assert first["record"]["review"] == {"state": "judged", "verdict": "disagree", "readers": 2}
    assert first["record"]["key_name"] == "first admin key"


def test_the_table_holds_what_was_answered(asked: tuple[RunningServer, list[dict[str, Any]]]) -> None:
    server, answers = asked
    response = server.client.get("/predictions/export.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="predictions.csv"'
    read = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [line["id"] for line in read] == [answer["id"] for answer in answers]
    for line, answer, rotations, exact, case_id in zip(
        read, answers, ("none", "exact", "full"), ("", "true", "true"), ("case", "'-case", "1x"), strict=True
    ):
        assert datetime.fromisoformat(line["created_at"]) == datetime.fromisoformat(answer["created_at"])
        assert line["key_id"] == server.key[4:16]
        assert [float(line["logit_no_metastasis"]), float(line["logit_metastasis"])] == answer["logits"]
        assert float(line["probability"]) == answer["probability"]
        assert (line["label"], line["decision"]) == (answer["label"], answer["decision"])
        assert line["model_sha256"] == answer["model"]["sha256"]
        assert line["patch_sha256"] == answer["patch"]["sha256"]
        assert float(line["total_ms"]) == answer["timing_ms"]["total"]
        assert float(line["sharpness"]) == answer["quality"]["sharpness"]
        assert (line["assessable"], line["rotations"], line["exact"]) == ("true", rotations, exact)
        assert (line["case_id"], line["slide_id"]) == (case_id, "")


def test_the_columns_are_documented_in_their_order() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.partition("| column | what |")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.partition(" | ")[0])]
    assert named == list(CSV_NAMES)


def test_text_is_no_formula_and_numbers_are_numbers(database: Engine) -> None:
    migrate(database)
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'x", "a=1", "", 'a "b", c\nd', "ü"]
    template = row_of(answer_of(NOON), Rotations.FULL, "k") | {"probability": None, "logit_metastasis": -1e-7}
    rows = [template | {"id": str(answer_of(NOON).id), "case_id": each} for each in texts]
    with database.begin() as connection:
        connection.execute(insert(predictions), rows)
    found = piece(PredictionLog(database), CSV, EVERYTHING)
    assert (found.rows, found.next) == (len(texts), None)
    read = list(csv.DictReader(io.StringIO(CSV.head + found.text, newline="")))[::-1]
    expected = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", *texts[6:]]
    assert [line["case_id"] for line in read] == expected
    assert {(line["logit_metastasis"], line["probability"], line["exact"]) for line in read} == {("-1e-07", "", "true")}
    assert {line["created_at"] for line in read} == {"2026-05-01T12:00:00.000000Z"}


def test_pieces_join_to_everything(database: Engine) -> None:
    migrate(database)
    log = PredictionLog(database)
    ids = fill(database, 2 * MAX_ROWS)
    seen: list[str] = []
    sizes = []
    following = piece(log, CSV, EVERYTHING)
    while True:
        seen += [line.partition(",")[0] for line in following.text.splitlines()]
        sizes.append(following.rows)
        if following.next is None:
            break
        following = piece(log, CSV, EVERYTHING, following.next)
    assert seen == ids
    assert sizes == [MAX_ROWS, MAX_ROWS, 0]
    assert piece(log, JSONL, Filter(case_id="case-1")).rows == 0


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("role", [Role.PREDICT, Role.METRICS])
def test_other_roles_export_nothing(server: RunningServer, role: Role, suffix: str) -> None:
    with server.new_client(role) as client:
        assert_problem(client.get(f"/predictions/export.{suffix}"), 403, "forbidden")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server with 20,000 predictions."""
    with RunningServer(tmp_path_factory.mktemp("full"), artifact_path) as running:
        fill(running.services.database, MANY)
        yield running


@pytest.mark.parametrize("role", [Role.READ, Role.REVIEW, Role.ADMIN])
def test_an_export_is_told_in_the_audit_trail(full: RunningServer, role: Role) -> None:
    before = len(exports_in_the_trail(full, 0))
    with full.new_client(role) as client:
        params = {"case_id": "case-7", "since": "2026-05-01T14:00:00+02:00"}
        response = client.get("/predictions/export.csv", params=params)
        key_id = client.headers["authorization"][11:23]
    assert len(response.text.splitlines()) == 1 + 1000
    newest = exports_in_the_trail(full, before + 1)[0]
    assert (newest.who, newest.address, newest.subject) == (f"a test's {role} key ({key_id})", "127.0.0.1", "csv")
    assert json.loads(newest.after or "") == {"filters": params, "rows": 1000, "complete": True}


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_export_has_every_row(full: RunningServer, suffix: str) -> None:
    before = len(exports_in_the_trail(full, 0))
    with full.client.stream("GET", f"/predictions/export.{suffix}") as response:
        lines = sum(1 for _ in response.iter_lines())
    assert lines == MANY + (suffix == "csv")
    newest = exports_in_the_trail(full, before + 1)[0]
    assert json.loads(newest.after or "") == {"filters": {}, "rows": MANY, "complete": True}


@pytest.mark.parametrize("page", ["/predictions", "/cases"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_head_reads_one_piece_and_is_no_export(full: RunningServer, suffix: str, page: str) -> None:
    """The trail's next row is that of the GET, which leaves all the rows."""
    before = len(exports_in_the_trail(full, 0))
    statements: list[str] = []
    with full.client_of(full.key) as client:
        if page == "/cases":
            client.post("/login", data={"key": full.key}, headers={"Origin": full.url})
            client.headers.pop("authorization")
        with told(full.services.database, statements):
            head = client.head(f"{page}/export.{suffix}")
        with client.stream("GET", f"{page}/export.{suffix}") as got:
            list(got.iter_lines())
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-disposition"):
        assert head.headers[name] == got.headers[name]
    assert sum("FROM predictions" in statement for statement in statements) == 1
    entries = exports_in_the_trail(full, before + 1)
    assert len(entries) == before + 1
    assert json.loads(entries[0].after or "")["rows"] == MANY


@contextmanager
def told(database: Engine, statements: list[str]) -> Iterator[None]:
    """Note the statements that reach a database until the block ends."""

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(database, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(database, "before_cursor_execute", note)


def test_an_export_that_nobody_reads_waits_and_its_end_is_told(full: RunningServer) -> None:
    before = len(exports_in_the_trail(full, 0))
    with full.client_of(full.key) as client, client.stream("GET", "/predictions/export.jsonl") as response:
        next(response.iter_lines())
        assert full.client.get("/predictions", params={"limit": 1}).status_code == 200
    newest = exports_in_the_trail(full, before + 1)[0]
    told = json.loads(newest.after or "")
    assert told["complete"] is False
    assert 0 < told["rows"] < MANY


def test_an_export_that_the_database_breaks_off_does_not_look_whole(full: RunningServer) -> None:
    before = len(exports_in_the_trail(full, 0))
    rename = "ALTER TABLE {} RENAME TO {}"
    with full.client_of(full.key) as client, client.stream("GET", "/predictions/export.jsonl") as response:
        lines = response.iter_lines()
        next(lines)
        with full.services.database.begin() as connection:
            connection.execute(text(rename.format("predictions", "elsewhere")))
        try:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                list(lines)
            assert_problem(full.client.get("/predictions/export.csv"), 503, "records-unavailable")
            told = json.loads(exports_in_the_trail(full, before + 1)[0].after or "")
        finally:
            with full.services.database.begin() as connection:
                connection.execute(text(rename.format("elsewhere", "predictions")))
    assert told["complete"] is False
    assert 0 < told["rows"] < MANY
    assert len(exports_in_the_trail(full, before + 1)) == before + 1
