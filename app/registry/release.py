"""The artifacts of this release, or the one that the settings name."""

from __future__ import annotations

import logging
from pathlib import Path

from app.registry.registry import Registry
from app.registry.serving import Serving
from model_zoo.opening import ModelError, read_artifact, shipped_artifacts

log = logging.getLogger("rosette.models")


def register(registry: Registry, named: Path | None) -> None:
    """Register the artifact that the settings name, else the shipped ones; activate the first if none is active.

    Raises:
        ModelError: naming the first file that cannot be used.
    """
    for path in [named] if named else shipped_artifacts():
        try:
            registry.release(read_artifact(path))
        except (OSError, ModelError) as error:
            of = " of ROSETTE_MODEL" if named else ""
            raise ModelError(f"the model {path}{of} cannot be used: {error}") from error


def recognize(registry: Registry, named: Path | None) -> None:
    """Tell the registry which artifacts are part of this release, without registering them.

    Raises:
        ModelError: naming the first file that cannot be read.
    """
    for path in [named] if named else shipped_artifacts():
        try:
            registry.recognize(read_artifact(path))
        except (OSError, ModelError) as error:
            raise ModelError(f"the model {path} cannot be read: {error}") from error


def warn_if_another_serves(registry: Registry, serving: Serving) -> None:
    """Log a warning if the active model is none of the registered artifacts."""
    model = serving.state.model
    if model is not None and not registry.is_own(model.sha256):
        log.warning(
            "The active model is not the one of the settings or the release: `rosette models list` shows them, "
            "`rosette models activate ID` changes it"
        )
