"""Activations under load, repeatedly and during kills: no request is affected."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

import httpx
import numpy as np
import pytest

from app.diagnosis.report import shortest
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.processes import KEY, KILLS, memory_kb, serving
from tests.scale import scaled

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
ONNX, PNG = {"Content-Type": "application/octet-stream"}, {"Content-Type": "image/png"}
CLIENTS = 8
PREDICTIONS, SWAPS = scaled(2_000, 10_000), 20
MEMORY_SWAPS = 200
PATIENCE_S = 600


@pytest.fixture(scope="module")
def artifacts() -> dict[str, bytes]:
    """Two models by their ids; the first serves at the start."""
    return {
        sha256(data).hexdigest(): data for data in (shipped_artifact(name=n).read_bytes() for n in ("balanced", "fast"))
    }


def until(met: Callable[[], bool], seconds: float) -> float:
    """Wait for it; gives how long it took."""
    began = monotonic()
    while not met():
        assert monotonic() - began < seconds, f"not within {seconds} s"
        sleep(0.02)
    return monotonic() - began


def activate(client: httpx.Client, model: str) -> None:
    response = client.post(f"/admin/models/{model}/activate")
    assert response.status_code == 200, response.text
    assert response.json()["serves_here"] is True, response.text


@pytest.mark.soak
def test_predictions_in_flight_over_swaps_all_come_from_one_whole_model(
    tmp_path: Path, artifacts: dict[str, bytes]
) -> None:
    patches = [synthetic_patch("tumour" if i % 2 else "normal", i) for i in range(8)]
    logits = {
        model: [[shortest(value) for value in network.logits(patch[None])[0]] for patch in patches]
        for model, network in ((model, Network(data)) for model, data in artifacts.items())
    }
    pngs = [encoded(patch) for patch in patches]
    remaining = iter(range(PREDICTIONS))
    lock, answers, done = threading.Lock(), Counter[str](), 0

    def ask(client: httpx.Client) -> None:
        nonlocal done
        while True:
            with lock:
                number = next(remaining, None)
            if number is None:
                return
            which = number % len(pngs)
            response = client.post("/predict", content=pngs[which], headers=PNG, params={"rotations": "none"})
            assert response.status_code == 200, response.text
            answer = response.json()
            assert answer["logits"] == logits[answer["model"]["sha256"]][which]
            with lock:
                answers[answer["model"]["sha256"]] += 1
                done += 1

    furnish(tmp_path, shipped_artifact(), shipped_artifact(name="fast"))
    with serving(tmp_path, shipped_artifact(), ROSETTE_ADMIN_KEY=KEY) as server:
        url = server.wait_until_it_listens()
        with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=url, headers=AUTHORIZED, timeout=60) as admin:
            clients = [httpx.Client(base_url=url, headers=AUTHORIZED, timeout=60) for _ in range(CLIENTS)]
            asked = [pool.submit(ask, client) for client in clients]
            for swap in range(SWAPS):
                until(lambda due=swap * PREDICTIONS // SWAPS: done >= due or all(a.done() for a in asked), PATIENCE_S)  # type: ignore[misc]
                activate(admin, list(artifacts)[(swap + 1) % 2])
            for each in asked:
                each.result()
            for client in clients:
                client.close()
    assert answers.total() == PREDICTIONS
    assert answers.keys() == artifacts.keys()


@pytest.mark.soak
@pytest.mark.nightly
def test_memory_stays_flat_over_swaps(
    tmp_path: Path, artifacts: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    png = encoded(synthetic_patch("tumour", 1))

    furnish(tmp_path, shipped_artifact(), shipped_artifact(name="fast"))
    early: list[int] = []
    late: list[int] = []
    with (
        serving(tmp_path, shipped_artifact(), ROSETTE_ADMIN_KEY=KEY) as server,
        httpx.Client(base_url=server.wait_until_it_listens(), headers=AUTHORIZED, timeout=60) as client,
    ):
        for swap in range(1, MEMORY_SWAPS + 1):
            activate(client, list(artifacts)[swap % 2])
            assert client.post("/predict", content=png, headers=PNG).status_code == 200
            if 6 <= swap <= 15 or swap > MEMORY_SWAPS - 10:
                (early if swap <= 15 else late).append(memory_kb(server.process.pid, "Pss_Anon"))
    # The two models take turns, and one takes a tenth more memory. A swap leaves memory that is freed a little later:
    # what it takes at least grows only by what is never freed.
    before, after = ([min(readings[0::2]), min(readings[1::2])] for readings in (early, late))
    with capsys.disabled():
        print(f"\n[least memory of all processes, kB a model: {before} in swaps 6 to 15, {after} in the last ten]")
    assert sum(after) <= 1.05 * sum(before)


@pytest.mark.soak
@pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=pytest.mark.nightly), "postgresql"], indirect=True
)
def test_a_server_killed_during_upload_and_activation_comes_back_with_one_whole_model(
    database_url: str, tmp_path: Path, artifacts: dict[str, bytes]
) -> None:
    chance = random.Random(0)
    settings = {"ROSETTE_DATABASE_URL": database_url, "ROSETTE_ADMIN_KEY": KEY}
    balanced, fast = artifacts
    seen: Counter[str] = Counter()

    def meddle(url: str, swap: bool) -> None:
        with httpx.Client(base_url=url, headers=AUTHORIZED, timeout=60) as client:
            try:
                assert client.post("/admin/models", content=artifacts[fast], headers=ONNX).status_code in {200, 201}
                while swap:
                    for model in (fast, balanced):
                        activate(client, model)
            except httpx.TransportError:
                return

    for round_ in range(KILLS):
        with serving(tmp_path / "home", shipped_artifact(), **settings) as server:
            url = server.wait_until_it_listens()
            with httpx.Client(base_url=url, headers=AUTHORIZED, timeout=60) as client:
                ready = client.get("/readyz").json()
                found = client.get("/admin/models").json()
                assert ready["status"] == "ready"
                assert ready["sha256"] == found["active"]
                assert [model["state"] for model in found["models"]].count("active") == 1
                for model in found["models"]:
                    assert sha256(client.get(f"/admin/models/{model['id']}/file").content).hexdigest() == model["id"]
                seen[found["active"]] += 1
            meddler = threading.Thread(target=meddle, args=[url, round_ % 3 > 0])
            meddler.start()
            # The moment of the kill is left to chance, so that it falls into every stage of both deeds.
            sleep(chance.uniform(0.0, 3.0))
            server.kill()
            meddler.join()
    assert seen.total() == KILLS


def test_two_servers_on_one_postgresql_follow_each_other(
    postgres_url: str, tmp_path: Path, artifacts: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"ROSETTE_DATABASE_URL": postgres_url, "ROSETTE_ADMIN_KEY": KEY}
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(tmp_path / name, None, **settings)) for name in ("one", "other")]
        one, other = (
            stack.enter_context(httpx.Client(base_url=server.wait_until_it_listens(), headers=AUTHORIZED, timeout=60))
            for server in servers
        )
        took = []
        for model in [*reversed(artifacts), *reversed(artifacts)]:
            activate(one, model)
            took.append(until(lambda model=model: answering(other) == model, PATIENCE_S))  # type: ignore[misc]
    with capsys.disabled():
        print(f"\n[the other server followed within {max(took):.2f} s of {len(took)} activations]")


def answering(client: httpx.Client) -> str:
    """The model that answers a patch now; readiness is looked into once a second only."""
    png = encoded(synthetic_patch("tumour", 1))
    response = client.post("/predict", content=png, headers=PNG, params={"rotations": "none"})
    found: str = response.json()["model"]["sha256"]
    return found


def test_logits_of_the_two_models_differ(artifacts: dict[str, bytes]) -> None:
    """Otherwise the test above could not tell a mixture."""
    patch = synthetic_patch("tumour", 0)[None]
    first, second = (Network(data).logits(patch) for data in artifacts.values())
    assert not np.array_equal(first, second)
