"""A database of revision 0005 after the upgrade: every page, export, filter, replay and rollback works."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import Engine, select

from app.diagnosis import past
from app.diagnosis.report import Answer
from app.records.database import open_database, transaction
from app.records.entry import LogEntry, insert_missing
from app.records.migrations import migrate
from app.records.tables import predictions
from app.settings import Settings
from model_zoo.reasons import Code
from tests.app.conftest import RunningServer
from tests.app.earlier import CODES, KEYS, ROWS, Earlier
from tests.conftest import postgres_database

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def earlier() -> Earlier:
    return Earlier()


@contextmanager
def upgrade(earlier: Earlier, database_url: str, folder: Path) -> Iterator[RunningServer]:
    """A server of today on that database."""
    database = open_database(Settings(database_url=database_url).sqlalchemy_url())
    earlier.load(database)
    database.dispose()
    model = folder / "accurate.int8.onnx"
    model.write_bytes(earlier.artifacts["accurate"])
    with RunningServer(folder / "home", model, database_url=database_url, prevalence=0.1) as running:
        running.client.headers["Authorization"] = f"Bearer {KEYS['admin']}"
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def upgraded(
    request: pytest.FixtureRequest, earlier: Earlier, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """One for all tests that change neither answers nor models."""
    folder = tmp_path_factory.mktemp("upgraded")
    url = nullcontext(f"sqlite:///{folder / 'rosette.db'}") if request.param == "sqlite" else postgres_database()
    with url as database_url, upgrade(earlier, database_url, folder) as running:
        yield running


@pytest.fixture
def upgraded_again(earlier: Earlier, database_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    with upgrade(earlier, database_url, tmp_path) as running:
        yield running


def answers_of(running: RunningServer, **wanted: str) -> list[dict[str, Any]]:
    """Recorded answers that fit, oldest first."""
    response = running.client.get("/predictions", params={"limit": "200"} | wanted)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found[::-1]


def codes_of(answer: dict[str, Any]) -> str:
    return " ".join(reason["code"] for reason in answer["reasons"])


def test_the_rows_are_few_bytes_and_of_every_kind(earlier: Earlier) -> None:
    assert ROWS.stat().st_size < 100_000
    assert {row["decision"] for row in earlier.predictions} == {"positive", "negative", "review", "not_assessable"}
    assert all(
        isinstance(reason, str) for row in earlier.predictions for reason in json.loads(row["answer"])["reasons"]
    )


def test_answers_have_todays_shape_and_their_own_texts(upgraded: RunningServer, earlier: Earlier) -> None:
    found = answers_of(upgraded)
    assert [answer["id"] for answer in found] == [row["id"] for row in earlier.predictions]
    assert [codes_of(answer) for answer in found] == CODES
    for answer, row in zip(found, earlier.predictions, strict=True):
        assert list(answer) == list(Answer.model_fields)
        recorded = json.loads(row["answer"])
        assert [reason["text"] for reason in answer["reasons"]] == recorded["reasons"]
        assert (answer["basis"], answer["orbit_logits"], answer["shifts"]) == ("single", None, None)
        assert answer["patch"] == recorded["patch"] | {"microns_per_pixel": None}
        for name in set(recorded) - {"reasons", "patch", "model"}:
            assert answer[name] == recorded[name]
        assert upgraded.client.get(f"/predictions/{answer['id']}").json() == answer
        for reason in answer["reasons"]:
            assert (reason["value"] is None) == (reason["limit"] is None) == (reason["code"] == "no_tissue")
            if reason["code"] == "review_band":
                low, high = reason["limit"]
                assert low <= reason["value"] == answer["probability"] <= high
            if reason["code"] in {"tissue", "sharpness"}:
                assert reason["value"] < reason["limit"]
            if reason["code"] in {"turning", "stain"}:
                assert reason["value"] > reason["limit"]


def test_filters_find_the_reasons(upgraded: RunningServer) -> None:
    everything = answers_of(upgraded)
    for code in get_args(Code):
        expected = [answer["id"] for answer in everything if code in codes_of(answer).split()]
        assert [answer["id"] for answer in answers_of(upgraded, reason=code)] == expected
    [both] = answers_of(upgraded, reason="turning", case_id="case-1")
    assert codes_of(both) == "review_band turning"
    for wanted in (
        {"decision": "review"}, {"label": "metastasis"}, {"model": "fast"}, {"slide_id": "slide-3"},
        {"patch": everything[0]["patch"]["sha256"]}, {"since": everything[3]["created_at"]},
        {"until": everything[3]["created_at"]}, {"key": KEYS["predict"].split("_")[1]},
    ):  # fmt: skip
        assert 0 < len(answers_of(upgraded, **wanted)) < len(everything), wanted


def test_exports_have_old_rows_in_todays_shape(upgraded: RunningServer) -> None:
    lines = upgraded.client.get("/predictions/export.jsonl").text.splitlines()
    exported = [json.loads(line) for line in lines[::-1]]
    records = [each.pop("record") for each in exported]
    assert exported == answers_of(upgraded)
    assert {record["file_name"] for record in records} == {None}
    assert {record["review"]["state"] for record in records} == {"open", "judged"}
    rows = list(csv.DictReader(io.StringIO(upgraded.client.get("/predictions/export.csv").text)))[::-1]
    assert [row["reason_codes"] for row in rows] == CODES
    assert {(row["basis"], row["shifts"], row["shift_deviation"], row["microns_per_pixel"]) for row in rows} == {
        ("single", "none", "", "")
    }


def test_repeats_get_the_first_answer(upgraded: RunningServer, earlier: Earlier) -> None:
    asked: dict[str, str] = {"case_id": "case-1", "slide_id": "slide-1"}
    with upgraded.client_of(KEYS["predict"]) as client:
        headers = JPEG | {"Idempotency-Key": "single-1"}
        repeat = client.post("/predict", params=asked, content=earlier.image("single-1"), headers=headers)
        assert (repeat.status_code, repeat.headers["idempotency-replayed"]) == (200, "true")
        assert repeat.json() == answers_of(upgraded)[0]
        changed = client.post(
            "/predict", params=asked | {"shifts": "report"}, content=earlier.image("single-1"), headers=headers
        )
        assert (changed.status_code, changed.json()["type"]) == (422, "/problems/idempotency-mismatch")
    assert len(answers_of(upgraded)) == len(CODES)


def test_a_review_and_a_stored_patch_are_still_there(upgraded: RunningServer, earlier: Earlier) -> None:
    [review] = earlier.tables["reviews"]
    found = upgraded.client.get(f"/predictions/{review['prediction_id']}/reviews").json()["reviews"]
    assert [each["note"] for each in found] == ["No tumour."]
    first = earlier.predictions[0]["id"]
    assert upgraded.client.get(f"/predictions/{first}/patch").content == earlier.image("single-1")
    written = {"verdict": "agree", "note": ""}
    assert upgraded.client.post(f"/predictions/{first}/reviews", json=written).status_code == 201


def test_a_rollback_and_new_answers(upgraded_again: RunningServer, earlier: Earlier) -> None:
    ids = {name: sha256(data).hexdigest() for name, data in earlier.artifacts.items()}
    image = earlier.image("single-1")
    for name in ("accurate", "fast", "accurate"):
        deadline = monotonic() + 30
        while upgraded_again.client.get("/readyz").json()["sha256"] != ids[name]:
            assert monotonic() < deadline
            sleep(0.05)
        answer = upgraded_again.client.post("/predict", content=image, headers=JPEG).json()
        assert (answer["model"]["sha256"], answer["basis"], answer["orbit_logits"]) == (ids[name], "single", None)
        assert upgraded_again.client.post("/admin/models/rollback").status_code == 200
    [scored] = upgraded_again.client.get(f"/admin/models/{ids['fast']}").json()["shadow"]
    assert (scored["active_id"], scored["basis"]) == (ids["accurate"], "single")
    assert scored["patches"] == len(earlier.tables["shadow_scores"])


def test_the_trail_goes_on(upgraded: RunningServer, earlier: Earlier) -> None:
    last = max(earlier.tables["audit"], key=lambda row: int(row["number"]))
    verified = upgraded.client.get("/admin/audit/verify", params={"head": f"{last['number']}:{last['hash']}"}).json()
    assert verified["whole"] is True
    assert verified["rows"] > last["number"]


def test_every_page_opens(upgraded: RunningServer, earlier: Earlier) -> None:
    cases = [f"/cases/{row['id']}" for row in earlier.predictions]
    models = [f"/models/{row['id']}" for row in earlier.tables["models"]]
    first, second, *_ = (row["id"] for row in earlier.predictions)
    others = [
        "/", "/cases", "/cases/log?reason=turning&sort=deviation", "/cases/export.csv?reason=stain",
        "/cases/export.jsonl",
        f"/cases/compare?a={first}&b={second}", "/models", "/keys", "/audit", "/status",
    ]  # fmt: skip
    with httpx.Client(base_url=upgraded.url, headers={"Accept": "text/html"}, timeout=30, trust_env=False) as browser:
        assert browser.post("/login", data={"key": KEYS["admin"]}).status_code == 303
        for path in [*others, *models, *cases]:
            page = browser.get(path)
            assert page.status_code == 200, path
        for row in earlier.predictions:
            text = browser.get(f"/cases/{row['id']}").text
            assert all(reason in text for reason in json.loads(row["answer"])["reasons"])


def test_an_unknown_reason_becomes_other(empty: Engine) -> None:
    old = Earlier()
    row = old.predictions[1]
    row["answer"] = row["answer"].replace("probability in the review band", "a band of another version is")
    old.load(empty)
    migrate(empty)
    with transaction(empty) as connection:
        query = select(predictions.c.reason_codes, predictions.c.answer).where(predictions.c.id == row["id"])
        found = connection.execute(query).one()
    assert (found.reason_codes, found.answer) == ("other", row["answer"])
    [reason] = past.read(found.answer).reasons
    assert (reason.code, reason.value, reason.limit) == ("other", None, None)
    assert reason.text.startswith("a band of another version is 0.2")


def test_answers_that_were_journalled_before_the_upgrade_move_into_the_database(database: Engine) -> None:
    migrate(database)
    rows = Earlier().predictions
    for row in rows:
        row["assessable"], row["exact"], row["consistent"] = (
            None if row[name] is None else bool(row[name]) for name in ("assessable", "exact", "consistent")
        )
        row["created_at"] = f"{row['created_at']}+00:00"
    lines = [json.dumps({"values": row, "request": None, "patch": None}) for row in rows]
    with transaction(database) as connection:
        insert_missing(connection, [LogEntry.from_json(line) for line in lines])
    with transaction(database) as connection:
        found = connection.execute(select(predictions).order_by(predictions.c.id)).all()
    assert [row.reason_codes for row in found] == CODES
    assert {(row.basis, row.shifts, row.microns_per_pixel) for row in found} == {("single", "none", None)}
