"""A real server in this process, with a real model and a real database."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from itertools import count
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from app.access import lookup
from app.access.caller import Role
from app.diagnosis.example import EXAMPLE
from app.diagnosis.prediction_row import row
from app.diagnosis.report import Answer
from app.main import create_app
from app.problems import IdempotencyMismatch
from app.records.audit import Actor
from app.records.database import open_database, transaction
from app.records.entry import LogEntry, Recorded, insert_new
from app.records.idempotency import Repeatable
from app.server import Server, make_server
from app.services import Services
from app.settings import Settings
from model_zoo.network import Network
from model_zoo.orbit import Rotations
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch
from tests.conftest import postgres_database
from tests.homes import furnish, migrated

lookup.PATIENCE_S = 30.0  # beside other tests, a query can take longer than the two seconds of a server
TESTER = Actor("a test")
KEPT = ("ROSETTE_TEST_", "ROSETTE_SHARED")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ROSETTE_") and not name.startswith(KEPT):
            monkeypatch.delenv(name)


def encoded(pixels: Patch, file_format: str = "PNG", **options: Any) -> bytes:
    """The pixels as an image file's bytes."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


BY_THE_PATCH = {"basis": "single", "orbit_logits": None, "shifts": None}
_counted = count()


def answer_of(moment: datetime, **changes: Any) -> Answer:
    """The example of an answer, by the patch as given, at this moment, with an id of that time."""
    answer_id = UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | next(_counted))
    return Answer.model_validate(EXAMPLE | BY_THE_PATCH | {"id": answer_id, "created_at": moment} | changes)


def row_of(answer: Answer, rotations: Rotations, key_id: str) -> dict[str, Any]:
    """The row of an answer as it is recorded, with all columns."""
    return row(answer, rotations) | {"key_id": key_id, "answer": answer.model_dump_json(), "file_name": None}


def write(database: Engine, entry: LogEntry) -> Recorded | IdempotencyMismatch:
    """Commit one entry, past the writer; gives what its request gets."""
    with transaction(database) as connection:
        [result] = insert_new(connection, [entry])
    return result


def entry_of(
    answer: Answer,
    rotations: Rotations,
    key_id: str,
    request: Repeatable | None = None,
    patch: bytes | None = None,
) -> LogEntry:
    """An answer as it is recorded, with the image file if that shall be stored."""
    return LogEntry(row_of(answer, rotations, key_id), request, patch)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class RunningServer:
    """A server on a free port, in a thread, from ``with`` until the block ends.

    Attributes:
        client: sends the first admin key along.
    """

    def __init__(self, home: Path, model: Path | None, **settings: Any) -> None:
        # Most tests share one address, and many try wrong keys; one process starts faster than two.
        settings = {"failed_tries": 1000, "inference_processes": 1} | settings
        self.settings = Settings(home=home, model=model, port=0, host="127.0.0.1", **settings)
        if not self.settings.database_url.get_secret_value():
            furnish(home, model)
        self.app = create_app(self.settings)
        self.services: Services = self.app.state.services
        self._ready = threading.Event()
        self.port = 0
        self.server: Server = make_server(self.app, self.settings, self._listening)
        self._thread = threading.Thread(target=self.server.run, name="server", daemon=True)

    def _listening(self, port: int) -> None:
        self.port = port
        self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._ready.wait(0.05):
            assert self._thread.is_alive(), "the server ended while it started"
        file = self.services.admin_key_file
        key = file.read_text().strip() if file else self.settings.read_admin_key()
        self.client = self.client_of(key or "")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        self.server.should_exit = True
        self._thread.join(120)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return self.client.headers["authorization"].removeprefix("Bearer ")

    def client_of(self, key: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={b"Authorization": f"Bearer {key}".encode()},
            timeout=120,
            trust_env=False,
            verify=False,  # no TLS here, and reading the authorities' certificates takes 40 ms of processor time
            limits=httpx.Limits(keepalive_expiry=3),  # the server closes what has been idle for 5 s
        )

    def new_client(self, role: Role) -> httpx.Client:
        return self.client_of(self.new_key(role))

    def new_key(self, role: Role) -> str:
        return self.services.keys.add(role, f"a test's {role} key", TESTER).key

    def recorded(self) -> int:
        return len(self.services.predictions.page(10_000).answers)


@contextmanager
def standing_still(running: RunningServer) -> Iterator[None]:
    """No inference process goes on until the block ends."""
    pids = running.services.processes.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def all_at_work(running: RunningServer, png: bytes) -> Iterator[None]:
    """Each inference process has a patch, and none goes on until the block ends; then all are answered."""
    pool = running.services.pool
    with ThreadPoolExecutor(pool.size) as threads:
        with standing_still(running):
            headers = {"Content-Type": "image/png"}
            asked = [
                threads.submit(running.client.post, "/predict", content=png, headers=headers) for _ in range(pool.size)
            ]
            deadline = monotonic() + 120
            while pool.running < pool.size:
                assert monotonic() < deadline
            yield
        assert all(each.result().status_code == 200 for each in asked)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """One server that most tests share."""
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, inference_processes=2) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """A database by its URL, as the server opens it."""
    engine = open_database(Settings(database_url=url).sqlalchemy_url())
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An SQLite database of the test's own, in which the migrations ran."""
    (tmp_path / "rosette.db").write_bytes(migrated())
    with opened(f"sqlite:///{tmp_path / 'rosette.db'}") as engine:
        yield engine


@pytest.fixture
def postgres(migrated_postgres: str) -> Iterator[Engine]:
    """A PostgreSQL database of the test's own, in which the migrations ran."""
    with postgres_database(migrated_postgres) as url, opened(url) as engine:
        yield engine


@pytest.fixture
def empty_sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An SQLite database of the test's own without tables."""
    with opened(f"sqlite:///{tmp_path / 'empty.db'}") as engine:
        yield engine


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[Engine]:
    """A PostgreSQL database of the test's own without tables."""
    with opened(postgres_url) as engine:
        yield engine


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    """A database of the test's own without tables."""
    with opened(database_url) as engine:
        yield engine


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture(scope="session")
def network(artifact_path: Path) -> Network:
    return Network(artifact_path.read_bytes())


@pytest.fixture(scope="session")
def tumour() -> Patch:
    return synthetic_patch("tumour", 7)


@pytest.fixture(scope="session")
def png(tumour: Patch) -> bytes:
    return encoded(tumour)


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The response is this problem, in full, and shows nothing of the server's inside."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert {"type", "title", "status", "detail"} <= set(body)
    assert "Traceback" not in response.text
    return body


def noise(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Pixels that compress badly."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
