"""Two models: the shipped default, and another that can be uploaded."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import RunningServer
from tests.conftest import shipped_artifact

ONNX = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="session")
def accurate(artifact_path: Path) -> bytes:
    return artifact_path.read_bytes()


@pytest.fixture(scope="session")
def fast() -> bytes:
    return shipped_artifact(name="fast").read_bytes()


def id_of(artifact: bytes) -> str:
    return sha256(artifact).hexdigest()


def upload(client: httpx.Client, artifact: bytes, **headers: str) -> httpx.Response:
    return client.post("/admin/models", content=artifact, headers=ONNX | headers)


def serving(server: RunningServer) -> str:
    """The id of the model that answers now."""
    found: str = server.client.get("/readyz").json()["sha256"]
    return found
