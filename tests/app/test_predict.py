"""``POST /predict`` over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from app.access.caller import Role
from app.diagnosis.report import Answer
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch
from tests.app.conftest import RunningServer, assert_problem, encoded, noise
from tests.app.test_decode import bombs, raw_png

PNG = {"Content-Type": "image/png"}


def predict(server: RunningServer, image: bytes, **params: str) -> dict[str, Any]:
    response = server.client.post("/predict", content=image, headers=PNG, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_answer_is_what_the_network_says(
    server: RunningServer, network: Network, tumour: Patch, png: bytes, artifact_path: Any
) -> None:
    given = predict(server, png, rotations="none")
    answer = predict(server, png)
    logits = network.logits(tumour[None])
    assert np.array_equal(np.array(answer["logits"], np.float32), logits[0])
    assert given["logits"] == answer["logits"]
    assert given["probability"] == network.probabilities(logits)[0]
    assert answer["model"]["microns_per_pixel"] == network.manifest.input.microns_per_pixel
    assert (given["basis"], given["orbit_logits"], given["shifts"]) == ("single", None, None)
    assert answer["basis"] == "orbit"
    assert answer["orbit_logits"] is not None
    assert answer["model"]["sha256"] == sha256(artifact_path.read_bytes()).hexdigest()
    patch = {"sha256": sha256(tumour.tobytes()).hexdigest(), "format": "PNG", "microns_per_pixel": None}
    assert answer["patch"] == patch
    assert UUID(answer["id"]).version == 7
    assert abs(datetime.now(UTC) - datetime.fromisoformat(answer["created_at"])) < timedelta(minutes=1)
    assert answer["consistency"]["angles_deg"] == [30 * k for k in range(12)]
    assert answer["consistency"]["exact"] is True
    assert None not in answer["consistency"]["probabilities"]
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["infer"] > 0
    assert answer["notice"].startswith("Research use only.")


def test_the_order_of_members_is_documented_order(server: RunningServer, png: bytes) -> None:
    assert list(predict(server, png)) == list(Answer.model_fields)


@pytest.mark.parametrize("kind", ["tumour", "normal", "blank"])
def test_all_four_quarter_turns_have_equal_logits(server: RunningServer, kind: Any) -> None:
    for seed in range(4):
        patch = synthetic_patch(kind, seed)
        turned = [predict(server, encoded(np.rot90(patch, k)), rotations="none") for k in range(4)]
        assert len({tuple(answer["logits"]) for answer in turned}) == 1
        assert len({answer["patch"]["sha256"] for answer in turned}) == 4
        assert len({json.dumps(answer["quality"]) for answer in turned}) == 1


@pytest.mark.parametrize(
    ("rotations", "sources", "exact", "known"),
    [
        ("full", {"measured": 6, "implied": 6}, True, 12),
        ("exact", {"measured": 4, "not_measured": 8}, True, 4),
        ("none", {"measured": 1, "not_measured": 11}, None, 1),
        ("all", {"measured": 12}, True, 12),
    ],
)
def test_rotations(
    server: RunningServer, png: bytes, rotations: str, sources: dict[str, int], exact: bool | None, known: int
) -> None:
    consistency = predict(server, png, rotations=rotations)["consistency"]
    assert {kind: consistency["source"].count(kind) for kind in set(consistency["source"])} == sources
    assert consistency["exact"] is exact
    assert sum(p is not None for p in consistency["probabilities"]) == known
    assert (consistency["consistent"] is None) == (known < 12)


def test_glass_is_not_assessable(server: RunningServer) -> None:
    answer = predict(server, encoded(np.full((96, 96, 3), 243, np.uint8)))
    assert (answer["decision"], answer["label"], answer["probability"]) == ("not_assessable", None, None)
    assert len(answer["logits"]) == 2
    assert [reason["code"] for reason in answer["reasons"]] == ["tissue", "sharpness", "no_tissue"]


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream", "IMAGE/TIFF; q=1"])
def test_raw_bodies_are_read_by_content_whatever_image_type_is_said(
    server: RunningServer, png: bytes, content_type: str
) -> None:
    response = server.client.post("/predict", content=png, headers={"Content-Type": content_type})
    assert response.json()["patch"]["format"] == "PNG"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_a_form_and_a_raw_body_are_answered_alike(server: RunningServer, tumour: Patch, file_format: str) -> None:
    image = encoded(tumour, file_format)
    form = server.client.post("/predict", files={"file": ("patch", image)}).json()
    raw = predict(server, image)
    assert form["logits"] == raw["logits"]
    assert form["patch"] == raw["patch"]
    assert raw["patch"]["format"] == file_format


def test_a_chunked_body_is_read(server: RunningServer, png: bytes) -> None:
    chunks = (png[i : i + 1000] for i in range(0, len(png), 1000))
    assert server.client.post("/predict", content=chunks, headers=PNG).status_code == 200


BAD_IMAGES = {
    "hello": (b"hello", "not-an-image"),
    "gif": (encoded(noise(1, 96, 96, 3), "GIF"), "not-an-image"),
    "empty": (b"", "empty-body"),
    "truncated": (encoded(noise(1, 96, 96, 3))[:5000], "truncated-image"),
    "95x96": (encoded(noise(1, 96, 95, 3)), "wrong-size"),
    "16-bit": (raw_png(96, 96, 16, 2), "wrong-mode"),
    "grayscale": (raw_png(96, 96, 8, 0), "wrong-mode"),
    "palette": (raw_png(96, 96, 8, 3), "wrong-mode"),
    "alpha": (raw_png(96, 96, 8, 6), "wrong-mode"),
    "bomb": (bombs()["png"], "image-too-large"),
}


@pytest.mark.parametrize("as_form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_problems_and_no_predictions(server: RunningServer, name: str, as_form: bool) -> None:
    image, slug = BAD_IMAGES[name]
    before = server.recorded()
    body: dict[str, Any] = {"files": {"file": image}} if as_form else {"content": image, "headers": PNG}
    assert_problem(server.client.post("/predict", **body), 422, slug)
    assert server.recorded() == before


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("rotation=full", "'rotation' is unknown, expected: rotations"),
        ("rotations=none&rotations=all", "occurs 2 times"),
        ("rotations=", "query.rotations"),
        ("rotations=most", "query.rotations"),
        ("rotations=none&x", "'x' is unknown"),
        ("%00=%ff", "is unknown"),
    ],
)
def test_unknown_and_repeated_parameters_are_refused(server: RunningServer, png: bytes, query: str, named: str) -> None:
    problem = assert_problem(
        server.client.post(f"/predict?{query}", content=png, headers=PNG), 422, "invalid-parameter"
    )
    assert named in problem["detail"]


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        ({"files": {"image": b"x"}}, "invalid-form"),
        ({"files": {"file": b"x"}, "data": {"comment": "x"}}, "invalid-form"),
        ({"files": [("file", b"x"), ("file", b"y")]}, "invalid-form"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "empty-body"),
        ({"content": b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "invalid-form"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "invalid-form"),
        ({"content": b"x", "headers": {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}}, "invalid-form"),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "invalid-form"),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            "invalid-form",
        ),
        (
            {
                "content": b"--b\r\n\r\nnameless\r\n--b--",
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            "invalid-form",
        ),
    ],
)
def test_a_form_is_one_field_named_file(server: RunningServer, body: dict[str, Any], slug: str) -> None:
    assert_problem(server.client.post("/predict", **body), 422, slug)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "image/webp"},
        {"Content-Type": ""},
        {"Content-Type": "image/png", "Content-Encoding": "gzip"},
    ],
)
def test_other_content_types_and_encodings_are_refused(
    server: RunningServer, png: bytes, headers: dict[str, str]
) -> None:
    response = server.client.post("/predict", content=png, headers=headers)
    assert_problem(response, 415, "unsupported-content-type")
    assert response.headers["connection"] == "close"


def test_what_is_checked_first(server: RunningServer, png: bytes) -> None:
    """Key, then role, then parameters, then content type, then length, then content."""
    wrong: dict[str, Any] = {
        "params": {"x": "y"},
        "content": bytes(2**20 + 1),
        "headers": {"Content-Type": "text/plain"},
    }
    with server.client_of("wrong") as stranger, server.new_client(Role.READ) as reader:
        assert_problem(stranger.post("/predict", **wrong), 401, "unauthorized")
        assert_problem(reader.post("/predict", **wrong), 403, "forbidden")
    assert_problem(server.client.post("/predict", **wrong), 422, "invalid-parameter")
    del wrong["params"]
    assert_problem(server.client.post("/predict", **wrong), 415, "unsupported-content-type")
    assert_problem(server.client.post("/predict", content=wrong["content"], headers=PNG), 413, "body-too-large")


def test_concurrent_answers_are_each_their_own(server: RunningServer, network: Network) -> None:
    patches = [synthetic_patch("tumour", seed) for seed in range(12)]

    import asyncio

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, headers=server.client.headers, timeout=120) as client:
            asked = [
                client.post("/predict", content=encoded(p), headers=PNG, params={"rotations": "none"}) for p in patches
            ]
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    for patch, response in zip(patches, answers, strict=True):
        assert np.array_equal(np.array(response.json()["logits"], np.float32), network.logits(patch[None])[0])
    assert len({response.json()["id"] for response in answers}) == len(patches)


def test_shared_patches_have_equal_logits_in_four_turns(server: RunningServer, shared: Any) -> None:
    """A few real patches; `benchmarks` runs all of them."""
    from PIL import Image

    pyarrow = pytest.importorskip("pyarrow.parquet")
    from io import BytesIO

    table = pyarrow.read_table(shared / "pcam" / "test.parquet").slice(0, 10).to_pylist()
    for row in table:
        image = row["image"]
        patch = np.array(Image.open(BytesIO(image["bytes"] if isinstance(image, dict) else image)))
        answers = [predict(server, encoded(np.rot90(patch, k)), rotations="none") for k in range(4)]
        assert len({tuple(answer["logits"]) for answer in answers}) == 1
