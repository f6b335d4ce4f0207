"""Checkpoints of a run: the newest usable one, and a check of the best one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A run has no checkpoint that can be used."""


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest undamaged checkpoint, or None if the run has none.

    Raises:
        CheckpointError: if there are checkpoints, and all are damaged.
    """
    present = [folder / name for name in (LAST, PREVIOUS, BEST) if (folder / name).exists()]
    for file in present:
        if _opened(file) is not None:
            return file
        logger.warning("%s is truncated or damaged: continuing from an earlier checkpoint, if there is one", file)
    if present:
        raise CheckpointError(f"all checkpoints in {folder} are truncated or damaged: delete it and train again")
    return None


def require_best(folder: Path) -> Path:
    """The checkpoint with the lowest validation loss.

    Raises:
        CheckpointError: if there is none, it is damaged, or its weights are not finite.
    """
    best = folder / BEST
    if not best.exists():
        raise CheckpointError(
            f"{folder} holds no {BEST}: no epoch was finished, or the file was deleted; "
            "run the same command again, or delete the folder and train again"
        )
    content = stored(best, "state_dict")
    floats = [tensor for tensor in content["state_dict"].values() if tensor.is_floating_point()]
    if not all(bool(tensor.isfinite().all()) for tensor in floats):
        raise CheckpointError(f"{best} holds weights that are not finite: train again with a lower learning rate")
    return best


def stored(file: Path, *keys: str) -> dict[str, Any]:
    """What a file of a run's weights holds, among it these keys.

    Raises:
        FileNotFoundError: if it is not there.
        CheckpointError: if it is damaged.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises various exceptions for a damaged file
        raise CheckpointError(f"{file} is truncated or damaged: delete {file.parent} and make the run again") from error
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise CheckpointError(f"{file} holds no weights of a run: delete {file.parent} and make the run again")
    return content


def _opened(file: Path) -> dict[str, Any] | None:
    try:
        return stored(file, "state_dict")
    except CheckpointError:
        return None
