"""Opens an artifact for answers: nothing that was not proved on this machine is used."""

from __future__ import annotations

import stat
from pathlib import Path

import model_zoo
from model_zoo.manifest import MAX_BYTES
from model_zoo.network import Network
from model_zoo.proof import Report, prove

MODEL_ZOO = Path(model_zoo.__file__).parent
DEFAULT_NAME = "accurate"


class ModelError(ValueError):
    """A model that cannot serve; the message says why."""


def artifact_file(path: Path) -> Path:
    """The file that a person named.

    Args:
        path: a file; where there is none, the name of a shipped artifact, such as ``fast``.

    Raises:
        OSError: if it cannot be looked up.
        ModelError: if there is neither, or it is no regular file.
    """
    shipped = _by_name()
    if not path.is_file():
        path = shipped.get(str(path), path)
    if not path.exists():
        raise ModelError(
            f"there is no such file: name a file NAME.int8.onnx, or a shipped artifact: {', '.join(shipped)}"
        )
    if not stat.S_ISREG(path.stat().st_mode):
        raise ModelError("it is not a file: name a file NAME.int8.onnx")
    return path


def read_artifact(path: Path) -> bytes:
    """The bytes of an artifact's file.

    Args:
        path: as :func:`artifact_file` takes it.

    Raises:
        OSError: if it cannot be read.
        ModelError: if there is none, it is no file, or it is larger than an artifact may be.
    """
    with artifact_file(path).open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ModelError(f"it has more than {MAX_BYTES:,} bytes, so it is no artifact: name a file NAME.int8.onnx")
    return data


def open_unproved(data: bytes) -> Network:
    """Open an artifact for what it says of itself: its answers are not proved.

    Raises:
        ModelError: if it cannot be opened, or is no INT8 artifact.
    """
    try:
        network = Network(data)
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ModelError(f"it cannot be opened: {error}") from error
    if network.manifest.precision != "int8":
        raise ModelError(f"it is {network.manifest.precision}, and only int8 artifacts are served")
    return network


def open_proved(data: bytes) -> tuple[Network, Report]:
    """Open an artifact and prove it on this machine.

    Raises:
        ModelError: if it cannot be opened, is no INT8 artifact, or fails a proof.
    """
    network = open_unproved(data)
    try:
        proof = prove(network)
    except Exception as error:
        raise ModelError(f"it cannot be proved: {type(error).__name__}: {error}") from error
    for step in proof.steps:
        if not step.passed:
            raise ModelError(f"{step.name}: {step.detail}")
    return network, proof


def shipped_artifacts() -> list[Path]:
    """The INT8 artifacts in ``model_zoo/``, the one that serves by default first.

    Raises:
        ModelError: if that one is missing.
    """
    found = sorted(MODEL_ZOO.glob("*.int8.onnx"), key=lambda path: (not path.name.startswith(DEFAULT_NAME), path.name))
    if not found or not found[0].name.startswith(DEFAULT_NAME):
        raise ModelError(f"{MODEL_ZOO} holds no file {DEFAULT_NAME}-*.int8.onnx: set ROSETTE_MODEL")
    return found


def _by_name() -> dict[str, Path]:
    return {path.name.partition("-")[0]: path for path in sorted(MODEL_ZOO.glob("*.int8.onnx"))}
