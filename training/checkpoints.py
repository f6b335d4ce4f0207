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
    content = _opened(best)
    if content is None:
        raise CheckpointError(f"{best} is truncated or damaged: delete {folder} and train again")
    floats = [tensor for tensor in content["state_dict"].values() if tensor.is_floating_point()]
    if not all(bool(tensor.isfinite().all()) for tensor in floats):
        raise CheckpointError(f"{best} holds weights that are not finite: train again with a lower learning rate")
    return best


def _opened(file: Path) -> dict[str, Any] | None:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch raises various exceptions for a damaged file
        return None
    return content if isinstance(content, dict) and "state_dict" in content else None
