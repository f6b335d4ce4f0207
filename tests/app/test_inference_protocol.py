"""The Open Inference Protocol, with Triton's own client: the answers of ``POST /predict``, to the bit."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from app.access.caller import Role
from model_zoo.manifest import Manifest
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, assert_problem, encoded
from tests.conftest import earlier_artifact

SIZE = 96 * 96 * 3
LENGTH = "Inference-Header-Content-Length"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """Assessable patches, and an empty one at the end; uint8 [7, 96, 96, 3]."""
    made = [synthetic_patch(kind, seed) for seed in range(3) for kind in ("tumour", "normal")]
    return np.stack([*made, np.full((96, 96, 3), 245, np.uint8)])


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="module")
def manifest(server: RunningServer) -> Manifest:
    return server.services.model.manifest


def with_key(server: RunningServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"}


def infer(
    client: triton.InferenceServerClient, server: RunningServer, pixels: Pixels, binary: bool = True, **options: Any
) -> triton.InferResult:
    tensor = triton.InferInput("patches", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    name = server.services.model.manifest.name
    return client.infer(name, [tensor], headers=with_key(server), **options)


def alone(server: RunningServer, pixels: Pixels, rotations: str) -> list[dict[str, Any]]:
    files = [("file", encoded(patch)) for patch in pixels]
    answers: list[dict[str, Any]] = server.client.post(
        "/predict/batch", files=files, params={"rotations": rotations}
    ).json()["results"]
    return answers


def test_the_client_finds_server_and_model(
    client: triton.InferenceServerClient, server: RunningServer, manifest: Manifest
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    headers = with_key(server)
    assert client.is_model_ready(manifest.name, headers=headers)
    assert client.is_model_ready(manifest.name, manifest.version, headers=headers)
    assert not client.is_model_ready(manifest.name, "0", headers=headers)
    assert client.get_server_metadata(headers=headers)["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata(manifest.name, manifest.version, headers=headers)
    assert metadata["versions"] == [manifest.version]
    assert metadata["inputs"] == [{"name": "patches", "datatype": "UINT8", "shape": [-1, 96, 96, 3]}]
    assert {output["name"]: output["datatype"] for output in metadata["outputs"]} == {
        "logits": "FP32",
        "probability": "FP64",
        "decision": "BYTES",
        "prediction_id": "BYTES",
    }
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        client.get_model_metadata("nope", headers=headers)


@pytest.mark.parametrize("rotations", ["none", "full"])
def test_binary_answers_are_those_of_predict(
    client: triton.InferenceServerClient, server: RunningServer, pixels: Pixels, rotations: str
) -> None:
    result = infer(client, server, pixels, request_id="a-17", parameters={"rotations": rotations, "case_id": "c-1"})
    answers = alone(server, pixels, rotations)
    expected = np.array([answer["logits"] for answer in answers], np.float32)
    assert result.as_numpy("logits").tobytes() == expected.tobytes()
    probabilities = np.array([answer["probability"] for answer in answers], np.float64)
    np.testing.assert_array_equal(result.as_numpy("probability"), probabilities)
    assert np.isnan(probabilities[-1])
    assert [each.decode() for each in result.as_numpy("decision")] == [answer["decision"] for answer in answers]
    assert result.get_response()["id"] == "a-17"
    for patch, prediction_id in zip(answers, result.as_numpy("prediction_id"), strict=True):
        read = server.client.get(f"/predictions/{prediction_id.decode()}").json()
        assert read["patch"] == {"sha256": patch["patch"]["sha256"], "format": "RAW", "microns_per_pixel": None}
        assert (read["case_id"], read["basis"]) == ("c-1", patch["basis"])


def test_json_gives_the_same_and_null_for_what_is_not_assessable(
    client: triton.InferenceServerClient, server: RunningServer, pixels: Pixels
) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in ("probability", "logits")]
    parameters = {"rotations": "none"}
    flat = infer(client, server, pixels, binary=False, outputs=outputs, parameters=parameters).get_response()
    assert [output["name"] for output in flat["outputs"]] == ["probability", "logits"]
    assert flat["outputs"][0]["data"][-1] is None
    body = {
        "parameters": parameters,
        "inputs": [
            {"name": "patches", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.tolist()},
        ],
    }
    path = f"/v2/models/{flat['model_name']}/versions/{flat['model_version']}/infer"
    nested = server.client.post(path, json=body)
    assert LENGTH not in nested.headers
    assert {output["name"]: output["data"] for output in nested.json()["outputs"]}.items() >= {
        output["name"]: output["data"] for output in flat["outputs"]
    }.items()
    binary = server.client.post(path, json=body | {"parameters": parameters | {"binary_data_output": True}})
    head = json.loads(binary.content[: int(binary.headers[LENGTH])])
    rest = binary.content[int(binary.headers[LENGTH]) :]
    assert sum(output["parameters"]["binary_data_size"] for output in head["outputs"]) == len(rest)
    assert struct.unpack(f"<{2 * len(pixels)}f", rest[: 8 * len(pixels)]) == pytest.approx(flat["outputs"][1]["data"])


def test_a_repeat_with_an_idempotency_key_gets_the_first_answers(server: RunningServer, pixels: Pixels) -> None:
    head, rest = request(parameters={"rotations": "none"}), pixels[0].tobytes()
    key = {"Idempotency-Key": "inference-1"}
    first, before = send(server, head, rest, headers=key), server.recorded()
    again = send(server, head, rest, headers=key)
    assert (first.status_code, again.content, server.recorded()) == (200, first.content, before)
    assert again.headers["idempotency-replayed"] == "true"
    other = send(server, head, pixels[1].tobytes(), headers=key)
    assert_problem(other, 422, "idempotency-mismatch")


def request(patches: int = 1, size: Any = None, datatype: str = "UINT8", shape: Any = None, **more: Any) -> bytes:
    """The JSON of a request with a binary tensor."""
    tensor: dict[str, Any] = {"name": "patches", "datatype": datatype, "shape": shape or [patches, 96, 96, 3]}
    tensor["parameters"] = {"binary_data_size": patches * SIZE if size is None else size}
    return json.dumps({"inputs": [tensor]} | more).encode()


def send(
    server: RunningServer,
    head: bytes,
    rest: bytes,
    length: Any = None,
    headers: dict[str, str] | None = None,
    name: str | None = None,
) -> httpx.Response:
    stated = {LENGTH: str(len(head) if length is None else length)} | (headers or {})
    name = name or server.services.model.manifest.name
    return server.client.post(f"/v2/models/{name}/infer", content=head + rest, headers=stated)


PATCH = bytes(range(256)) * (SIZE // 256)


@pytest.mark.parametrize(
    ("head", "rest", "length"),
    [
        (request(), b"", None),
        (request(), PATCH[:-1], None),
        (request(), PATCH + b"x", None),
        (request(2), PATCH, None),
        (request(size=-1), PATCH, None),
        (request(size=True), PATCH, None),
        (request(size=10**30), PATCH, None),
        (request(size="27648"), PATCH, None),
        (request(shape=[1, 96, 96]), PATCH, None),
        (request(shape=[1, 96, 96, 3, 1]), PATCH, None),
        (request(shape=[-1, 96, 96, 3]), PATCH, None),
        (request(shape=[0, 96, 96, 3], size=0), b"", None),
        (request(shape=[10**18, 96, 96, 3]), PATCH, None),
        (request(257), PATCH * 257, None),
        (request(datatype="FP32"), PATCH, None),
        (request(outputs=[{"name": "nope"}]), PATCH, None),
        (request(outputs=[{"name": "logits"}, {"name": "logits"}]), PATCH, None),
        (request(id="x" * 257), PATCH, None),
        (b"{}", PATCH, None),
        (b"[" * 5000, PATCH, 5000),
        (b'{"inputs": "\xff"}', PATCH, None),
        (request(), PATCH, 10**8),
        (request(), PATCH, 10**30),
        (request(), PATCH, -5),
        (request(), PATCH, "1, 2"),
        (request(), PATCH, 0),
        (request(), PATCH, 66_000),
    ],
)
def test_what_is_not_the_protocol_is_refused(server: RunningServer, head: bytes, rest: bytes, length: Any) -> None:
    before = server.recorded()
    response = send(server, head, rest, length)
    problem = assert_problem(response, 400, "invalid-inference")
    assert problem["error"] == problem["detail"]
    assert server.recorded() == before


@pytest.mark.parametrize(
    "data",
    [[0] * (SIZE - 1), [0] * (9 * SIZE), [256] + [0] * (SIZE - 1), [1.5] + [0] * (SIZE - 1), [True] * SIZE, [[0]], "x"],
)
def test_json_that_is_no_patch_is_refused(server: RunningServer, data: Any) -> None:
    tensor = {"name": "patches", "datatype": "UINT8", "shape": [1, 96, 96, 3], "data": data}
    path = f"/v2/models/{server.services.model.manifest.name}/infer"
    assert_problem(server.client.post(path, json={"inputs": [tensor]}), 400, "invalid-inference")


def test_further_refusals(server: RunningServer, pixels: Pixels, manifest: Manifest) -> None:
    head, rest = request(), pixels[0].tobytes()
    path, before = f"/v2/models/{manifest.name}/infer", server.recorded()
    gray = np.repeat(pixels[0][..., :1], 3, axis=2)
    mixed = send(server, request(2), rest + gray.tobytes())
    assert assert_problem(mixed, 422, "wrong-mode")["error"].startswith("Patch 1: ")
    unknown = send(server, request(parameters={"sequence_id": 3}), rest)
    assert "The parameter 'sequence_id'" in assert_problem(unknown, 422, "invalid-parameter")["error"]
    assert_problem(send(server, request(parameters={"mpp": True}), rest), 422, "invalid-parameter")
    scale = send(server, request(parameters={"mpp": 0.25}), rest)
    assert_problem(scale, 422, "wrong-scale")
    chunked = server.client.post(path, content=iter([head, rest]), headers={LENGTH: str(len(head))})
    assert "Content-Length" in assert_problem(chunked, 400, "invalid-inference")["error"]
    assert_problem(send(server, head, rest, headers={"Content-Type": "image/png"}), 415, "unsupported-content-type")
    assert_problem(send(server, head, rest, headers={"Content-Encoding": "gzip"}), 415, "unsupported-content-type")
    assert_problem(send(server, head, rest, name="nope"), 404, "unknown-model")
    assert_problem(server.client.post(path, content=b" " * (2**22 + 1)), 413, "body-too-large")
    assert_problem(server.client.post(path), 422, "empty-body")
    assert_problem(server.client.post(f"{path}?rotations=none", content=head), 422, "invalid-parameter")
    with server.new_client(Role.READ) as reader:
        for method, route in [("GET", "/v2"), ("GET", f"/v2/models/{manifest.name}"), ("POST", path)]:
            problem = assert_problem(reader.request(method, route), 403, "forbidden")
            assert "error" in problem
    assert server.recorded() == before


def test_stored_patches_become_png_and_only_the_serving_model_infers(
    tmp_path: Path, artifact_path: Path, pixels: Pixels
) -> None:
    with RunningServer(tmp_path / "home", artifact_path, store_patches=True) as running:
        uploaded = running.client.post(
            "/admin/models",
            content=earlier_artifact().read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
        ).json()
        answered = send(running, request(outputs=[{"name": "prediction_id"}]), pixels[0].tobytes()).json()
        [prediction_id] = answered["outputs"][0]["data"]
        stored = running.client.get(f"/predictions/{prediction_id}/patch")
        assert stored.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(stored.content))), pixels[0])
        other = f"/v2/models/{uploaded['name']}/versions/{uploaded['version']}"
        assert running.client.get(other).json()["versions"] == [uploaded["version"]]
        ready = running.client.get(f"{other}/ready")
        assert (ready.status_code, ready.json()) == (409, {"name": uploaded["name"], "ready": False})
        refused = running.client.post(f"{other}/infer", content=request() + pixels[0].tobytes())
        assert uploaded["version"] in assert_problem(refused, 409, "model-not-serving")["error"]
