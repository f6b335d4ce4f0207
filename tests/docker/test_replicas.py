"""Several replicas: they migrate once, follow one activation, and share the load without errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from time import time

import pytest

from tests.app.registry.hostile import manifest
from tests.conftest import shipped_artifact
from tests.docker.stack import ONNX, PNG, Stack, docker

REPLICAS, REQUESTS, CLIENTS = 3, 1000, 8


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """Three replicas that meet an empty database together."""
    stack = new_stack("replicas")
    stack.up("--scale", f"app={REPLICAS}")
    return stack


def test_replicas_that_start_together_migrate_once(stack: Stack) -> None:
    containers = stack.containers("app")
    assert len(containers) == REPLICAS
    assert {docker("inspect", "--format", "{{.RestartCount}}", each) for each in containers} == {"0"}
    assert len(stack.sql("SELECT version_num FROM alembic_version").split()) == 1
    assert stack.sql("SELECT count(*) FROM activations") == "1"


def serving(container: str) -> str:
    """Which model one replica serves."""
    program = "import json, urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8000/readyz'))['sha256'])"
    return docker("exec", container, "python", "-c", program)


def test_all_follow_one_activation(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = manifest(version="9.9.9")(shipped_artifact(name="fast").read_bytes(), tmp_path)
    model = sha256(artifact).hexdigest()
    containers = stack.containers("app")
    with stack.client() as client:
        uploaded = client.post("/admin/models", content=artifact, headers=ONNX)
        assert uploaded.status_code == 201, uploaded.text
        assert model not in {serving(each) for each in containers}
        activated = client.post(f"/admin/models/{model}/activate")
        began = time()
        assert activated.status_code == 200, activated.text
    with ThreadPoolExecutor(REPLICAS) as pool:
        followed = list(pool.map(until_it_serves, containers, repeat(model), repeat(began)))
    with capsys.disabled():
        print(f"\n[one activation, followed by {REPLICAS} replicas within {max(followed):.2f} s]")
    assert max(followed) < float("inf")


def until_it_serves(container: str, model: str, began: float) -> float:
    """Seconds from ``began``, a time of the clock, until a replica serves the model; infinite if not soon."""
    program = f"""
import json, time, urllib.request as u
end = time.monotonic() + 300
while time.monotonic() < end:
    at = time.time()
    if json.load(u.urlopen('http://127.0.0.1:8000/readyz'))['sha256'] == {model!r}:
        print(at)
        break
    time.sleep(0.05)
"""
    said = docker("exec", container, "python", "-c", program)
    return float(said) - began if said else float("inf")


def test_a_thousand_requests_are_shared_without_an_error(
    stack: Stack, png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stack.recorded()
    with stack.client() as client, ThreadPoolExecutor(CLIENTS) as pool:

        def ask(_: int) -> tuple[int, str]:
            response = client.post("/predict", content=png, headers=PNG, params={"rotations": "none"})
            return response.status_code, response.json().get("id", response.text)

        answers = list(pool.map(ask, range(REQUESTS)))
    assert Counter(status for status, _ in answers) == {200: REQUESTS}
    assert {answer for _, answer in answers} == stack.recorded() - before
    shares = sorted(predicted(each) for each in stack.containers("app"))
    with capsys.disabled():
        print(f"\n[{REQUESTS} requests over {REPLICAS} replicas, 0 errors; each took {shares}]")
    assert shares[0] > REQUESTS / REPLICAS / 4


def predicted(container: str) -> int:
    """How many predictions one replica has recorded, by its own figures."""
    program = """
import urllib.request as u
key = open("/run/secrets/admin_key").read().strip()
asked = u.Request("http://127.0.0.1:8000/metrics", headers={"Authorization": f"Bearer {key}"})
lines = u.urlopen(asked).read().decode().splitlines()
print(int(sum(float(line.split()[-1]) for line in lines if line.startswith("rosette_predictions_total{"))))
"""
    return int(docker("exec", container, "python", "-c", program))
