"""Batches: each patch gets the same answer as alone, and an invalid patch affects no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.caller import Role
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, assert_problem, encoded

NONE = {"rotations": "none"}


@pytest.fixture(scope="module")
def patches() -> list[bytes]:
    return [encoded(synthetic_patch(kind, seed)) for seed in range(5) for kind in ("tumour", "normal")]


def ask(client: httpx.Client, images: list[bytes], headers: dict[str, str] | None = None, **query: str) -> Any:
    files = [("file", (f"{number}.png", image)) for number, image in enumerate(images)]
    return client.post("/predict/batch", files=files, params=NONE | query, headers=headers)


def of_one(client: httpx.Client, image: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = client.post("/predict", files={"file": image}, params=NONE).json()
    return answer


def test_each_patch_is_answered_as_it_would_be_alone_and_recorded(server: RunningServer, patches: list[bytes]) -> None:
    response = ask(server.client, patches * 3, case_id="case-1")
    assert response.status_code == 200
    results = response.json()["results"]
    assert len({result["id"] for result in results}) == len(patches) * 3
    for image, result in zip(patches * 3, results, strict=True):
        assert result["logits"] == of_one(server.client, image)["logits"]
        assert result["case_id"] == "case-1"
    for result in results[::7]:
        read = server.client.get(f"/predictions/{result['id']}")
        assert read.text in response.text
        assert read.json() == result


def test_a_bad_patch_gets_its_problem_and_spoils_no_other(server: RunningServer, patches: list[bytes]) -> None:
    too_large = b"\xff" * (server.settings.max_body_bytes + 1)
    before = server.recorded()
    results = ask(server.client, [patches[0], b"nonsense", patches[1][:200], b"", too_large, patches[1]]).json()[
        "results"
    ]
    found = [result.get("type", "answered").removeprefix("/problems/") for result in results]
    assert found == ["answered", "not-an-image", "truncated-image", "empty-body", "body-too-large", "answered"]
    assert [result["index"] for result in results if "type" in result] == [1, 2, 3, 4]
    assert server.recorded() == before + 2


def test_a_batch_of_nothing_but_bad_patches_is_answered_too(server: RunningServer) -> None:
    response = ask(server.client, [b"x", b""])
    assert response.status_code == 200
    assert [result["status"] for result in response.json()["results"]] == [422, 422]


def test_a_repeated_batch_gets_the_first_answers(server: RunningServer, patches: list[bytes]) -> None:
    key = {"Idempotency-Key": "a batch's key".replace(" ", "-")}
    first = ask(server.client, [*patches, b"bad"], key)
    before = server.recorded()
    again = ask(server.client, [*patches, b"bad"], key)
    assert again.json() == first.json()
    assert server.recorded() == before
    swapped = ask(server.client, [patches[1], patches[0]], key).json()["results"]
    assert [result["type"] for result in swapped] == ["/problems/idempotency-mismatch"] * 2
    longest = {"Idempotency-Key": "k" * 128}
    assert ask(server.client, patches, longest).json() == ask(server.client, patches, longest).json()
    too_long = ask(server.client, patches, {"Idempotency-Key": "k" * 129})
    assert_problem(too_long, 422, "invalid-parameter")


@pytest.mark.parametrize(
    ("files", "slug"),
    [
        ([("other", b"x")], "invalid-form"),
        ([("file", b"x"), ("other", b"x")], "invalid-form"),
        ([("file", b"x")] * 257, "invalid-form"),
    ],
)
def test_a_form_that_is_not_what_is_expected(server: RunningServer, files: list[tuple[str, bytes]], slug: str) -> None:
    response = server.client.post("/predict/batch", files=files, params=NONE)
    assert_problem(response, 422, slug)


def test_what_is_refused_before_the_body_is_read(server: RunningServer, patches: list[bytes]) -> None:
    assert_problem(httpx.post(f"{server.url}/predict/batch", content=b"x"), 401, "unauthorized")
    with server.new_client(Role.READ) as reader:
        assert_problem(ask(reader, patches), 403, "forbidden")
    assert_problem(ask(server.client, patches, x="1"), 422, "invalid-parameter")
    raw = server.client.post("/predict/batch", content=patches[0], headers={"Content-Type": "image/png"})
    assert_problem(raw, 415, "unsupported-content-type")
    large = server.client.post(
        "/predict/batch", content=bytes(2**24 + 1), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert_problem(large, 413, "body-too-large")
    empty = server.client.post("/predict/batch", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_problem(empty, 422, "empty-body")


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server that takes a patch in a hundred seconds from a key."""
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, key_rate=0.01, batches=1) as running:
        yield running


def test_a_key_that_sends_too_much_waits_and_others_do_not(bounded: RunningServer, patches: list[bytes]) -> None:
    with bounded.new_client(Role.PREDICT) as first, bounded.new_client(Role.PREDICT) as second:
        assert ask(first, patches[:2]).status_code == 200
        problem = ask(first, patches[:1])
        assert_problem(problem, 429, "rate-exceeded")
        assert 190 <= int(problem.headers["retry-after"]) <= 200
        single = first.post("/predict", files={"file": patches[0]}, params=NONE)
        assert_problem(single, 429, "rate-exceeded")
        assert second.post("/predict", files={"file": patches[0]}, params=NONE).status_code == 200
        assert first.get("/predictions").status_code == 200


def test_the_largest_batch_of_many_patches_is_described_as_it_is(server: RunningServer) -> None:
    described = server.client.get("/openapi.json").json()["paths"]["/predict/batch"]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["maxItems"] == 256
    assert {parameter["name"] for parameter in described["parameters"]} == {
        "rotations",
        "shifts",
        "occlusion",
        "case_id",
        "slide_id",
        "mpp",
        "Idempotency-Key",
    }
    assert json.dumps(described).count("BatchAnswer") == 1
