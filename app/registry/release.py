"""The artifacts that came with this server, or the one that its settings name."""

from __future__ import annotations

import logging
from pathlib import Path

from app.registry.registry import Registry
from app.registry.serving import Serving
from model_zoo.opening import ModelError, shipped_artifacts

log = logging.getLogger("rosette.models")


def register(registry: Registry, named: Path | None) -> None:
    """Register the artifact that the settings name, or else the shipped ones; the first serves if none is active.

    Raises:
        ModelError: naming the first file that cannot be used.
    """
    for path in [named] if named else shipped_artifacts():
        try:
            registry.release(path.read_bytes())
        except (OSError, ModelError) as error:
            raise ModelError(f"the model {path} cannot be used: {error}") from error


def recognize(registry: Registry, named: Path | None) -> None:
    """Tell the registry which artifacts came with this server, without registering them.

    Raises:
        ModelError: naming the first file that cannot be read.
    """
    for path in [named] if named else shipped_artifacts():
        try:
            registry.recognize(path.read_bytes())
        except OSError as error:
            raise ModelError(f"the model {path} cannot be read: {error}") from error


def warn_if_another_serves(registry: Registry, serving: Serving) -> None:
    """Say so if none of the registered artifacts is the one that serves, so that nobody waits for it."""
    model = serving.state.model
    if model is not None and not registry.is_own(model.sha256):
        log.warning(
            "Another model is active than the settings or the release bring: `rosette models list` shows them, "
            "`rosette models activate ID` changes it"
        )
