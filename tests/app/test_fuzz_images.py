"""Thousands of damaged images: each is answered or refused with a name, without side effects."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.problems import ImageProblem
from tests.app.mutations import mutated, seeds
from tests.processes import KEY, Server, memory_kb, serving
from tests.scale import scaled

pytestmark = pytest.mark.soak

BATCH = 256
BATCHES, WARM = scaled(16, 40), 8
SINGLY = 16  # of each batch, sent once more by themselves over one connection
SLOWEST_S = 600.0  # a batch on busy cores; one that hangs takes for ever
GROWTH = 1.3
REFUSALS = {kind.slug for kind in ImageProblem.__subclasses__()} | {"empty-body"}


@pytest.fixture
def server(tmp_path: Path, artifact_path: Path) -> Iterator[Server]:
    given = {"ROSETTE_ADMIN_KEY": KEY, "ROSETTE_LOG_LEVEL": "error", "ROSETTE_DEADLINE_S": "600"}
    with serving(tmp_path / "home", artifact_path, **given) as server:
        server.wait_until_it_listens()
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    one = httpx.Limits(max_connections=1)
    with httpx.Client(
        base_url=server.url or "", headers=headers, limits=one, timeout=SLOWEST_S, trust_env=False
    ) as client:
        yield client


def outcome(result: dict[str, Any]) -> str:
    """``"answered"``, or the name of the refusal, which must be one of an image."""
    if "logits" in result:
        return "answered"
    assert 400 <= result["status"] < 500, result
    name = str(result["type"]).removeprefix("/problems/")
    assert name in REFUSALS, result
    return name


def recorded(client: httpx.Client, answer: dict[str, Any]) -> bool:
    return bool(client.get(f"/predictions/{answer['id']}").json() == answer)


def test_spoilt_images_do_no_harm(server: Server, client: httpx.Client) -> None:
    chance, images = random.Random(0), seeds()
    outcomes: Counter[str] = Counter()
    warm = 0
    for batch in range(BATCHES):
        spoilt = [mutated(chance, images) for _ in range(BATCH)]
        response = client.post("/predict/batch?rotations=none", files=[("file", ("x", image)) for image in spoilt])
        assert response.status_code == 200, response.text
        results = response.json()["results"]
        assert len(results) == BATCH
        assert [result["index"] for result in results if "index" in result] == [
            index for index, result in enumerate(results) if "logits" not in result
        ]
        outcomes.update(map(outcome, results))
        assert all(recorded(client, result) for result in results if "logits" in result)
        for index in chance.sample(range(BATCH), SINGLY):
            single = client.post(
                "/predict?rotations=none", content=spoilt[index], headers={"Content-Type": "application/octet-stream"}
            )
            assert outcome(single.json()) == outcome(results[index])
            assert single.json().get("logits") == results[index].get("logits")
            assert single.headers.get("connection") != "close"
        if batch + 1 == WARM:
            warm = memory_kb(server.process.pid, "Pss_Anon")
    assert server.process.poll() is None
    assert memory_kb(server.process.pid, "Pss_Anon") < GROWTH * warm
    # The generator does not only make rubbish.
    assert set(outcomes) >= {"answered", "truncated-image", "not-an-image", "image-too-large", "wrong-size"}
    assert set(outcomes) >= {"wrong-mode", "animation", "unsupported-tiff"}
    assert outcomes["answered"] > BATCHES * BATCH // 20
