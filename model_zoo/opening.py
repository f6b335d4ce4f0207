"""Opens an artifact for answers: nothing that was not proved on this machine is used."""

from __future__ import annotations

from pathlib import Path

import model_zoo
from model_zoo.network import Network
from model_zoo.proof import Report, prove

MODEL_ZOO = Path(model_zoo.__file__).parent
DEFAULT_NAME = "accurate"


class ModelError(ValueError):
    """A model that cannot serve; the message says why."""


def open_proved(data: bytes) -> tuple[Network, Report]:
    """Open an artifact and prove it on this machine.

    Raises:
        ModelError: if it cannot be opened, is no INT8 artifact, or fails a proof.
    """
    try:
        network = Network(data)
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ModelError(f"it cannot be opened: {error}") from error
    if network.manifest.precision != "int8":
        raise ModelError(f"it is {network.manifest.precision}, and only int8 artifacts are served")
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
