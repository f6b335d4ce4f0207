"""Image files are stored with predictions only if the setting is on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from app.access.caller import Role
from app.problems import RecordsUnavailable
from app.records.filters import Scope
from app.records.idempotency import Repeatable, fingerprint
from app.records.migrations import migrate
from app.records.predictions import PredictionLog, StoredPatch
from app.records.tables import patches
from model_zoo.orbit import Rotations
from model_zoo.turns import Patch
from tests.app.conftest import RunningServer, answer_of, assert_problem, encoded, entry_of, write

FAST = {"rotations": "none"}


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server that stores patches."""
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, store_patches=True) as running:
        yield running


def stored(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(patches)).scalar_one()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_a_patch_comes_back_byte_for_byte(keeping: RunningServer, tumour: Patch, file_format: str) -> None:
    media_type = f"image/{file_format.lower()}"
    data = encoded(tumour, file_format)
    raw = keeping.client.post("/predict", content=data, headers={"Content-Type": media_type}, params=FAST)
    form = keeping.client.post("/predict", files={"file": ("x.svg", data, "image/svg+xml")}, params=FAST)
    for answered in (raw, form):
        answer_id = answered.json()["id"]
        read = keeping.client.get(f"/predictions/{answer_id}/patch")
        assert (read.status_code, read.content) == (200, data)
        assert read.headers["content-type"] == media_type
        assert read.headers["content-disposition"] == f'attachment; filename="{answer_id}.{file_format.lower()}"'
        assert read.headers["x-content-type-options"] == "nosniff"


def test_who_sees_the_answer_sees_the_patch(keeping: RunningServer, png: bytes) -> None:
    with keeping.new_client(Role.PREDICT) as microscope, keeping.new_client(Role.PREDICT) as other:
        answered = microscope.post("/predict", content=png, headers={"Content-Type": "image/png"}, params=FAST)
        path = f"/predictions/{answered.json()['id']}/patch"
        assert microscope.get(path).content == png
        assert_problem(other.get(path), 404, "unknown-prediction")
        assert_problem(microscope.get(f"{path}?size=1"), 422, "invalid-parameter")
    for role in (Role.READ, Role.REVIEW):
        with keeping.new_client(role) as client:
            assert client.get(path).content == png
    with keeping.new_client(Role.METRICS) as client:
        assert_problem(client.get(path), 403, "forbidden")
    assert_problem(keeping.client.get(f"/predictions/{UUID(int=0)}/patch"), 404, "unknown-prediction")


def test_a_repeat_stores_nothing_more(keeping: RunningServer, png: bytes) -> None:
    headers = {"Content-Type": "image/png", "Idempotency-Key": "patches"}
    first = keeping.client.post("/predict", content=png, headers=headers, params=FAST)
    before = stored(keeping.services.database)
    again = keeping.client.post("/predict", content=png, headers=headers, params=FAST)
    assert again.content == first.content
    assert stored(keeping.services.database) == before


def test_nothing_is_stored_unless_it_is_set(server: RunningServer, png: bytes) -> None:
    answer = server.client.post("/predict", content=png, headers={"Content-Type": "image/png"}, params=FAST).json()
    problem = assert_problem(server.client.get(f"/predictions/{answer['id']}/patch"), 404, "no-patch-stored")
    assert "ROSETTE_STORE_PATCHES was not set" in problem["detail"]
    assert stored(server.services.database) == 0


def test_answer_and_patch_are_one_transaction(database: Engine) -> None:
    migrate(database)
    log = PredictionLog(database)
    kept, lost, plain = (answer_of(datetime.now(UTC)) for _ in range(3))
    write(database, entry_of(kept, Rotations.FULL, "key", Repeatable("key", "1", fingerprint(b"")), b"\x00\xffpatch"))
    write(database, entry_of(plain, Rotations.FULL, "key"))
    with database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE patches")
    with pytest.raises(RecordsUnavailable):
        write(database, entry_of(lost, Rotations.FULL, "key", None, b"patch"))
    assert log.find(lost.id) is None
    assert log.find(kept.id) is not None


def test_the_log_tells_a_missing_patch_from_a_missing_prediction(database: Engine) -> None:
    migrate(database)
    log = PredictionLog(database)
    kept, plain, unknown = (answer_of(datetime.now(UTC)) for _ in range(3))
    write(database, entry_of(kept, Rotations.FULL, "key", None, b"\x00\xffpatch"))
    write(database, entry_of(plain, Rotations.FULL, "key"))
    assert log.patch(kept.id) == log.patch(kept.id, Scope("key")) == StoredPatch("PNG", b"\x00\xffpatch")
    assert log.patch(plain.id) == StoredPatch("PNG", None)
    assert log.patch(kept.id, Scope("another")) is log.patch(unknown.id) is None
