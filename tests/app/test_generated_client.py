"""What openapi-python-client makes of the server's own description, without a warning, works."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.conftest import RunningServer
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def package(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the generated package, which can be imported."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--path", "openapi.json", "--output-path", "generated_rosette"),
            *("--config", ROOT / "docs" / "openapi-python-client.yaml"),
        ],
        cwd=folder,
        env=os.environ | {"PATH": os.pathsep.join([programs, os.environ["PATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["Generating generated_rosette"]
    sys.path.insert(0, str(folder))
    return "generated_rosette"


def test_it_predicts_lists_and_parses_problems(server: RunningServer, package: str, png: bytes) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    types, models = module("types"), module("models")
    predict, listed = module("api.predictions.predict"), module("api.predictions.list_predictions")
    with module("client").AuthenticatedClient(server.url, token=server.key, timeout=60) as client:
        answer = predict.sync(client=client, body=types.File(BytesIO(png)), rotations=models.Rotations.NONE)
        assert isinstance(answer, models.Answer)
        form = models.PredictFilesBody(file=types.File(BytesIO(png), "a.png", "image/png"))
        again = predict.sync(client=client, body=form, rotations=models.Rotations.NONE)
        assert (again.logits, again.decision) == (answer.logits, answer.decision)
        page = listed.sync(client=client, limit=2)
        assert [found.id for found in page.predictions] == [again.id, answer.id]
        problem = predict.sync(client=client, body=types.File(BytesIO(b"no image")))
        assert isinstance(problem, models.Problem)
        assert (problem.type_, problem.status) == ("/problems/not-an-image", 422)
    with module("client").AuthenticatedClient(server.url, token="nonsense") as stranger:
        refused = listed.sync(client=stranger)
        assert (type(refused), refused.status) == (models.Problem, 401)


def test_operations_have_short_ids_of_their_own(server: RunningServer) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert {"predict", "predict_batch", "list_predictions", "infer"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 24
