"""A database outage: no request fails, and no answer is lost or doubled."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from PIL import Image
from sqlalchemy import create_engine, text

from app.access.key_cache import FRESH_S
from model_zoo.synthetic import synthetic_patch
from tests.postgres import Postgres, own_postgres
from tests.processes import KEY, serving

pytestmark = pytest.mark.soak

CLIENTS = 4
OUTAGE_S = 60.0
PATIENCE_S = 600.0
PAUSE_S = 0.05  # answers are to be missed by nobody, not to be many


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(synthetic_patch("tumour", 1)).save(file, format="PNG")
    return file.getvalue()


def client_of(url: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/png"}
    return httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False)


def settings_of(postgres: Postgres) -> dict[str, str]:
    return {"ROSETTE_DATABASE_URL": postgres.url, "ROSETTE_ADMIN_KEY": KEY}


def status_of(url: str) -> str:
    status: str = httpx.get(f"{url}/readyz", timeout=120, trust_env=False).json()["status"]
    return status


def wait_until_ready(url: str, home: Path) -> None:
    """Ready again, with nothing left in any journal."""
    deadline = monotonic() + PATIENCE_S
    while status_of(url) != "ready" or any(file.stat().st_size for file in (home / "journal").glob("*.journal")):
        assert monotonic() < deadline
        sleep(0.1)


def recorded(postgres: Postgres) -> Counter[str]:
    engine = create_engine(postgres.url)
    with engine.connect() as connection:
        found = Counter(connection.execute(text("SELECT answer FROM predictions")).scalars())
    engine.dispose()
    return found


def test_no_request_fails_while_the_database_is_stopped(
    postgres: Postgres, tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    before = recorded_if_any(postgres)
    answers: list[str] = []
    refused: list[str] = []
    stop = threading.Event()

    def ask(url: str) -> None:
        with client_of(url) as client:
            while not stop.is_set():
                response = client.post("/predict?rotations=none", content=png)
                (answers if response.status_code == 200 else refused).append(response.text)
                sleep(PAUSE_S)

    with serving(tmp_path, artifact_path, **settings_of(postgres)) as server:
        url = server.wait_until_it_listens()
        clients = [threading.Thread(target=ask, args=[url]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        sleep(2)
        postgres.stop()
        sleep(OUTAGE_S)
        during = status_of(url)
        postgres.start()
        wait_until_ready(url, tmp_path)
        sleep(2)
        stop.set()
        for client in clients:
            client.join()
        wait_until_ready(url, tmp_path)
    assert during == "degraded"
    assert refused == []
    assert len(answers) > 100
    assert recorded(postgres) - before == Counter(answers)


def test_a_database_that_hangs_is_not_waited_for(
    postgres: Postgres, tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    """For longer than a key is known without asking."""
    before = recorded_if_any(postgres)
    answers: list[str] = []
    with serving(tmp_path, artifact_path, **settings_of(postgres)) as server:
        url = server.wait_until_it_listens()
        with client_of(url) as admin:
            made = admin.post(
                "/admin/keys",
                headers={"Content-Type": "application/json"},
                json={"role": "predict", "name": "microscope"},
            )
            key = made.json()["key"]
        with client_of(url) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            answers.append(client.post("/predict?rotations=none", content=png).text)
            postgres.hang()
            try:
                end = monotonic() + FRESH_S + 5
                while monotonic() < end:
                    response = client.post("/predict?rotations=none", content=png)
                    assert response.status_code == 200, response.text
                    answers.append(response.text)
                    sleep(0.1)
                during = status_of(url)
            finally:
                postgres.go_on()
            wait_until_ready(url, tmp_path)
    assert during == "degraded"
    assert recorded(postgres) - before == Counter(answers)


def test_what_a_killed_server_had_journalled_is_not_lost(
    postgres: Postgres, tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    before = recorded_if_any(postgres)
    with serving(tmp_path, artifact_path, **settings_of(postgres)) as server:
        url = server.wait_until_it_listens()
        with client_of(url) as client:
            assert client.get("/predictions").status_code == 200
            postgres.stop()
            answers = [client.post("/predict?rotations=none", content=png) for _ in range(200)]
        server.kill()
    assert {answer.status_code for answer in answers} == {200}
    postgres.start()
    with serving(tmp_path, artifact_path, **settings_of(postgres)) as server:
        url = server.wait_until_it_listens()
        with client_of(url) as client:
            for answer in answers:
                found = client.get(f"/predictions/{answer.json()['id']}")
                assert found.status_code in {200, 503}, "a journalled answer is never unknown"
            wait_until_ready(url, tmp_path)
            assert client.get(f"/predictions/{answers[-1].json()['id']}").text == answers[-1].text
    assert recorded(postgres) - before == Counter(answer.text for answer in answers)


def recorded_if_any(postgres: Postgres) -> Counter[str]:
    engine = create_engine(postgres.url)
    with engine.connect() as connection:
        exists = connection.execute(text("SELECT to_regclass('predictions')")).scalar()
    engine.dispose()
    return recorded(postgres) if exists else Counter()
