"""A server that is killed at any moment loses no answer, and always starts again."""

from __future__ import annotations

import io
import random
import threading
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from PIL import Image

from model_zoo.synthetic import synthetic_patch
from tests.processes import KEY, KILLS, START_S, serving
from tests.scale import scaled

pytestmark = pytest.mark.soak

STARTS = scaled(3, 32)
CLIENTS = 8


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(synthetic_patch("tumour", 1)).save(file, format="PNG")
    return file.getvalue()


def ask_until_it_dies(url: str, png: bytes, answers: dict[str, str], first: threading.Event) -> None:
    """Send one patch after the other; keep the id and text of every whole answer."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/png"}
    with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
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
    for _ in range(KILLS):
        answers: dict[str, str] = {}
        first = threading.Event()
        with serving(tmp_path / "home", artifact_path, **settings) as server:
            url = server.wait_until_it_listens()
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120) as client:
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
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120) as client:
            assert {name: client.get(f"/predictions/{name}").text for name in recorded} == recorded


def test_a_server_killed_while_it_starts_starts_the_next_time(tmp_path: Path, artifact_path: Path) -> None:
    with serving(tmp_path / "untroubled", artifact_path) as server:
        began = monotonic()
        server.wait_until_it_listens()
        start_s = monotonic() - began
    home = tmp_path / "home"
    for i in range(STARTS):
        with serving(home, artifact_path) as server:
            sleep(start_s * (0.3 + i / STARTS))
    with serving(home, artifact_path) as server:
        url = server.wait_until_it_listens()
        key = (home / "admin.key").read_text(encoding="ascii").strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/predictions").json() == {"predictions": [], "next": None}
