"""Where the tests find the artifact and the shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shipped_artifact(precision: str = "int8", name: str = "accurate") -> Path:
    """The one artifact of this name and precision (``"int8"`` or ``"fp32"``) in ``model_zoo/``.

    ``ROSETTE_TEST_ARTIFACT`` names another INT8 artifact, whose float twin lies beside it.
    """
    if named := os.environ.get("ROSETTE_TEST_ARTIFACT"):
        path = Path(named)
        return path.with_name(path.name.replace(".int8.onnx", f".{precision}.onnx"))
    found = sorted((ROOT / "model_zoo").glob(f"{name}-*.{precision}.onnx"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(f"expected exactly one model_zoo/{name}-*.{precision}.onnx, found {names}")
    return found[0]


@pytest.fixture(scope="session")
def artifact_path() -> Path:
    """The shipped INT8 artifact."""
    return shipped_artifact()


@pytest.fixture(scope="session")
def float_artifact_path() -> Path:
    """Its float32 twin."""
    return shipped_artifact("fp32")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real patches and slides, which are used in place and never copied here."""
    folder = Path(os.environ.get("ROSETTE_SHARED", ROOT.parent / "shared"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real data at {folder}: set ROSETTE_SHARED to the folder that holds pcam/")
    return folder
