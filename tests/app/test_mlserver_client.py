"""MLServer's client against a real server: ``mlserver infer``, and its types and codecs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded
from tests.conftest import ROOT

MLSERVER = Path(sys.prefix) / "mlserver"


def request(name: str, shape: tuple[int, ...], data: list[int]) -> dict[str, Any]:
    tensor = {"name": "patches", "shape": list(shape), "datatype": "UINT8", "data": data}
    return {"id": name, "inputs": [tensor]}


def bits(logits: list[Any]) -> bytes:
    return np.array(logits, np.float32).tobytes()


def test_it_predicts_and_reads_errors(server: RunningServer, tmp_path: Path) -> None:
    if not MLSERVER.is_dir():
        pytest.skip(f"MLServer's client is not at {MLSERVER}: make train-env installs it")
    patches = [synthetic_patch("tumour", 7), synthetic_patch("normal", 3), np.full((96, 96, 3), 245, np.uint8)]
    lines = [request(f"r{index}", (1, 96, 96, 3), patch.ravel().tolist()) for index, patch in enumerate(patches[:2])]
    lines.append(request("bad", (1, 2, 96, 3), [0] * (2 * 96 * 3)))
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    np.save(tmp_path / "patches.npy", np.stack(patches))
    name = server.services.model.manifest.name
    program = [sys.executable, str(ROOT / "tests" / "app" / "mlserver_program.py")]
    done = subprocess.run(
        [*program, f"127.0.0.1:{server.port}", server.key, name, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(MLSERVER)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    files = [("file", encoded(patch)) for patch in patches]
    expected = server.client.post("/predict/batch", files=files).json()["results"]
    for way in ("json", "binary"):
        *answered, refused = told[way]
        assert "expected UINT8 [N, 96, 96, 3]" in refused["error"]["msg"]
        for line, answer in zip(answered, expected, strict=False):
            outputs = {output["name"]: output["data"] for output in line["outputs"]}
            assert outputs["probability"] == [answer["probability"]]
            assert outputs["decision"] == [answer["decision"]]
            assert bits(outputs["logits"]) == bits(answer["logits"])
    codecs, probabilities = told["codecs"], [answer["probability"] for answer in expected]
    assert codecs["inputs"] == [["patches", "UINT8", [-1, 96, 96, 3]]]
    assert bits(codecs["logits"]) == bits([answer["logits"] for answer in expected])
    assert codecs["decision"] == [answer["decision"] for answer in expected]
    assert codecs["decision"][2] == "not_assessable"
    np.testing.assert_array_equal(np.array(codecs["probability"], float), np.array(probabilities, float))
    assert "no model 'nope'" in codecs["error"]
