"""A model that cannot be loaded never stops the current one, nor a start."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import Engine, insert, select, text

from app.records import models
from app.records.database import WRITE_FIRST
from app.records.tables import activations
from app.records.tables import models as table
from tests.app.conftest import RunningServer, assert_problem
from tests.app.registry.conftest import id_of, serving, upload
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.installed import rosette
from tests.scale import AT_NIGHT

PNG = {"Content-Type": "image/png"}
ADMIN_KEY = "x" * 32


def unreadable(artifact: bytes) -> bytes:
    """Not an artifact at all."""
    return b"these bytes are no model"


def with_nan(artifact: bytes) -> bytes:
    """An artifact whose manifest holds a number that JSON does not have; its length does not change."""
    key = b'"threshold":'
    begin = artifact.index(key) + len(key)
    end = artifact.index(b",", begin)
    return artifact[:begin] + b"NaN".ljust(end - begin) + artifact[end:]


def without_end(artifact: bytes) -> bytes:
    return artifact[: len(artifact) // 2]


BROKEN = [unreadable, with_nan, without_end]


def store(database: Engine, data: bytes) -> str:
    """Put a model's row into the database as no route would, if it is not there; gives its id."""
    row = {
        "id": id_of(data),
        "name": "broken",
        "version": "1",
        "size": len(data),
        "manifest": "{}",
        "report": '{"passed": true, "steps": []}',
        "origin": "upload",
        "uploaded_by": "a test",
        "uploaded_at": datetime.now(UTC),
    }
    with database.execution_options(**WRITE_FIRST).begin() as connection:
        if connection.execute(select(table.c.id).where(table.c.id == row["id"])).first() is None:
            connection.execute(insert(table), row | {"data": data})
    return id_of(data)


def activate(database: Engine, model_id: str) -> None:
    """Make a model the active one without asking anybody."""
    with database.execution_options(**WRITE_FIRST).begin() as connection:
        last = models.active(connection)
        row = {"number": last.number + 1 if last else 1, "model_id": model_id, "activated_by": "a test"}
        connection.execute(insert(activations), row | {"activated_at": datetime.now(UTC)})


def number_of_activations(database: Engine) -> int:
    with database.connect() as connection:
        found: int = connection.execute(text("SELECT count(*) FROM activations")).scalar_one()
    return found


def assert_degraded(server: RunningServer, served: bytes, broken: str, png: bytes) -> None:
    ready = server.client.get("/readyz")
    assert ready.status_code == 200
    said = ready.json()
    assert (said["status"], said["sha256"]) == ("degraded", id_of(served))
    assert f"the model {broken[:12]} is not used here" in said["detail"]
    assert "serves in its place" in said["detail"]
    answer = server.client.post("/predict", content=png, headers=PNG)
    assert (answer.status_code, answer.json()["model"]["sha256"]) == (200, id_of(served))


def with_fast(home: Path, model: Path) -> Path:
    """The folder, where an SQLite database has the other model, vetted: its upload takes little then."""
    furnish(home, model, shipped_artifact(name="fast"))
    return home


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server on which nothing is activated."""
    with RunningServer(with_fast(tmp_path_factory.mktemp("home"), artifact_path), artifact_path) as server:
        yield server


@pytest.fixture(scope="module")
def shadowed(untouched: RunningServer, fast: bytes) -> RunningServer:
    """The same with a shadow."""
    upload(untouched.client, fast)
    assert untouched.client.post(f"/admin/models/{id_of(fast)}/shadow").json()["state"] == "shadow"
    return untouched


@pytest.mark.parametrize("broken", BROKEN)
def test_a_row_that_does_not_load_is_not_activated(
    untouched: RunningServer, accurate: bytes, broken: Callable[[bytes], bytes]
) -> None:
    server = untouched
    model_id = store(server.services.database, broken(accurate))
    problem = assert_problem(server.client.post(f"/admin/models/{model_id}/activate"), 409, "model-unusable")
    assert "was not activated" in problem["detail"]
    said = rosette("models", "activate", model_id[:12], code=1, ROSETTE_HOME=str(server.settings.home))
    assert "cannot be loaded here, so it was not activated" in said
    assert "Traceback" not in said
    assert number_of_activations(server.services.database) == 1
    assert server.client.get("/readyz").json()["status"] == "ready"
    assert serving(server) == id_of(accurate)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_row_that_does_not_load_does_not_become_the_shadow(
    shadowed: RunningServer, accurate: bytes, fast: bytes, broken: Callable[[bytes], bytes]
) -> None:
    """The one that scores goes on."""
    server = shadowed
    model_id = store(server.services.database, broken(accurate))
    problem = assert_problem(server.client.post(f"/admin/models/{model_id}/shadow"), 409, "model-unusable")
    assert "it did not become the shadow" in problem["detail"]
    said = rosette("models", "shadow", model_id[:12], code=1, ROSETTE_HOME=str(server.settings.home))
    assert "cannot be loaded here, so it did not become the shadow" in said
    assert "Traceback" not in said
    assert server.client.get(f"/admin/models/{id_of(fast)}").json()["state"] == "shadow"
    shadow = server.services.serving.state.shadow
    assert shadow is not None
    assert shadow.sha256 == id_of(fast)
    assert server.client.get("/readyz").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("database_url", "broken"),
    [*(pytest.param("sqlite", broken, marks=AT_NIGHT) for broken in BROKEN), ("postgresql", with_nan)],
    indirect=["database_url"],
)
def test_a_row_that_does_not_load_leaves_the_old_model_and_the_start_serving(
    tmp_path: Path,
    artifact_path: Path,
    accurate: bytes,
    fast: bytes,
    png: bytes,
    broken: Callable[[bytes], bytes],
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two models have served; the last one is the last good one."""
    settings = {"admin_key": ADMIN_KEY, "database_url": database_url}
    with RunningServer(with_fast(tmp_path / "home", artifact_path), artifact_path, **settings) as server:
        upload(server.client, fast)
        assert server.client.post(f"/admin/models/{id_of(fast)}/activate").json()["serves_here"] is True
        model_id = store(server.services.database, broken(accurate))
        activate(server.services.database, model_id)
        server.services.serving.follow()
        assert_degraded(server, fast, model_id, png)
    for name in ("home", "replica"):
        caplog.clear()
        with RunningServer(tmp_path / name, artifact_path, **settings) as server:
            assert_degraded(server, fast, model_id, png)
            assert "serves in its place" in server.client.get("/readyz").json()["detail"]
        assert f"the model {model_id[:12]} is not used here" in caplog.text
        assert "serves in its place" in caplog.text
    with RunningServer(tmp_path / "home", artifact_path, **settings) as server:
        assert server.client.post("/admin/models/rollback").json()["id"] == id_of(fast)
        assert server.client.get("/readyz").json()["status"] == "ready"


def test_several_rows_that_do_not_load_are_passed_over(
    tmp_path: Path, artifact_path: Path, accurate: bytes, png: bytes
) -> None:
    with RunningServer(tmp_path, artifact_path, admin_key=ADMIN_KEY) as server:
        for broken in BROKEN:
            activate(server.services.database, store(server.services.database, broken(accurate)))
    with RunningServer(tmp_path, artifact_path, admin_key=ADMIN_KEY) as server:
        assert_degraded(server, accurate, id_of(without_end(accurate)), png)


def test_a_start_where_no_model_was_ever_good_says_so(tmp_path: Path, artifact_path: Path, accurate: bytes) -> None:
    with RunningServer(tmp_path, artifact_path, admin_key=ADMIN_KEY) as server:
        model_id = store(server.services.database, unreadable(accurate))
        with server.services.database.begin() as connection:
            connection.execute(text("DELETE FROM activations"))
        activate(server.services.database, model_id)
    with RunningServer(tmp_path, artifact_path, admin_key=ADMIN_KEY) as server:
        problem = assert_problem(server.client.get("/readyz"), 503, "not-ready")
        assert problem["failed"] == ["model"]
        assert model_id[:12] in problem["detail"]
        assert server.client.post(f"/admin/models/{id_of(accurate)}/activate").json()["serves_here"] is True
        deadline = monotonic() + 60  # what is not ready is found out once a second
        while server.client.get("/readyz").status_code != 200:
            assert monotonic() < deadline
        assert server.client.get("/readyz").json()["status"] == "ready"


def test_an_inference_process_that_dies_over_a_model_leaves_the_old_one_serving(
    tmp_path: Path, artifact_path: Path, accurate: bytes, fast: bytes, png: bytes
) -> None:
    with RunningServer(with_fast(tmp_path, artifact_path), artifact_path) as server, ThreadPoolExecutor(1) as threads:
        upload(server.client, fast)
        [worker] = server.services.processes._workers
        os.kill(worker.pid, signal.SIGSTOP)
        asked = threads.submit(server.client.post, f"/admin/models/{id_of(fast)}/activate")
        deadline = monotonic() + 60
        while not worker._telling.locked():  # until it has been told to open the model
            assert monotonic() < deadline
        os.kill(worker.pid, signal.SIGKILL)
        problem = assert_problem(asked.result(60), 409, "model-unusable")
        assert "no inference process" in problem["detail"]
        while server.client.get("/readyz").status_code != 200:
            assert monotonic() < deadline
        assert serving(server) == id_of(accurate)
        assert server.client.post("/predict", content=png, headers=PNG).status_code == 200
        assert server.client.post(f"/admin/models/{id_of(fast)}/activate").json()["serves_here"] is True
