"""A server that is killed at any moment loses no answer that it gave, and always starts again."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import httpx
import pytest
from PIL import Image
from sqlalchemy import create_engine, make_url, text

from model_zoo.synthetic import synthetic_patch

pytestmark = pytest.mark.soak

KEY = "the-soak-test-brings-its-own-admin-key"
ROUNDS = 24
CLIENTS = 4
START_S = 60.0


class Server:
    """``rosette serve`` in a process of its own, its output drained so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url: str | None = None
        self._output: list[str] = []
        self._listens = threading.Event()
        assert process.stdout is not None
        self._drain = threading.Thread(target=self._read, args=[process.stdout])
        self._drain.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._output.append(line)
            if " listens at " in line:
                self.url = line.partition(" listens at ")[2].split(",")[0]
                self._listens.set()
        self._listens.set()

    def wait_until_it_listens(self) -> str:
        self._listens.wait(START_S)
        assert self.url is not None, "the server did not start:\n" + "".join(self._output)
        return self.url

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._drain.join()


@contextmanager
def serving(home: Path, model: Path, **settings: str) -> Iterator[Server]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTE_")}
    environment |= {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0", "ROSETTE_MODEL": str(model)} | settings
    command = [str(Path(sys.executable).with_name("rosette")), "serve"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Server(process)
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(synthetic_patch("tumour", 1)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, by its URL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'soak.db'}"
        return
    if not (given := os.environ.get("ROSETTE_TEST_POSTGRES_URL")):
        pytest.skip("no PostgreSQL: set ROSETTE_TEST_POSTGRES_URL, as .ci/run does")
    name = f"rosette_soak_{os.getpid()}"
    server = create_engine(given, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(given).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def ask_until_it_dies(url: str, png: bytes, answers: dict[str, str], first: threading.Event) -> None:
    """Send one patch after the other; keep the id and text of every whole answer."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/png"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        try:
            while True:
                response = client.post("/predict", content=png, params={"rotations": "none"})
                assert response.status_code == 200, response.text
                answers[response.json()["id"]] = response.text
                first.set()
        except httpx.TransportError:
            return


def test_no_answer_is_lost_when_the_server_is_killed_under_load(
    database_url: str, tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    chance = random.Random(0)
    settings = {"ROSETTE_DATABASE_URL": database_url, "ROSETTE_ADMIN_KEY": KEY}
    recorded: dict[str, str] = {}
    for _ in range(ROUNDS):
        answers: dict[str, str] = {}
        first = threading.Event()
        with serving(tmp_path / "home", artifact_path, **settings) as server:
            url = server.wait_until_it_listens()
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
                found = {name: client.get(f"/predictions/{name}").text for name in recorded}
            assert found == recorded
            clients = [
                threading.Thread(target=ask_until_it_dies, args=[url, png, answers, first]) for _ in range(CLIENTS)
            ]
            for thread in clients:
                thread.start()
            answered = first.wait(START_S)
            # The moment of the kill is left to chance, so that it falls into every stage of a request.
            sleep(chance.uniform(0.0, 0.8))
            server.kill()
            for thread in clients:
                thread.join()
        assert answered
        recorded = answers
    with serving(tmp_path / "home", artifact_path, **settings) as server:
        url = server.wait_until_it_listens()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
            assert {name: client.get(f"/predictions/{name}").text for name in recorded} == recorded


def test_a_server_killed_while_it_starts_starts_the_next_time(tmp_path: Path, artifact_path: Path) -> None:
    with serving(tmp_path / "untroubled", artifact_path) as server:
        began = monotonic()
        server.wait_until_it_listens()
        start_s = monotonic() - began
    home = tmp_path / "home"
    for i in range(ROUNDS):
        with serving(home, artifact_path) as server:
            sleep(start_s * (0.3 + i / ROUNDS))
    with serving(home, artifact_path) as server:
        url = server.wait_until_it_listens()
        key = (home / "admin.key").read_text(encoding="ascii").strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/predictions").json() == {"predictions": [], "next": None}
