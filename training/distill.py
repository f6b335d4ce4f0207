"""Distillation: a student learns from labels and from the answers of teachers to the same views.

Source: Hinton et al. 2015, *Distilling the knowledge in a neural network*; Beyer et al. 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from training.data import Patches
from training.recipe import Distillation as Distillation
from training.teachers import Floats, labelled, open_teacher
from training.views import view


@dataclass(frozen=True)
class Lessons:
    """Views of all training patches, and the teachers' calibrated logit differences.

    Attributes:
        views: uint8 [N, 96, 96, 3] each.
        logits: float32 [views, N].
    """

    views: tuple[npt.NDArray[np.uint8], ...]
    logits: Floats


def learn_from(
    files: Sequence[Path], asked: Distillation | None, train: Patches, choosing: Patches, folder: Path, seed: int = 0
) -> tuple[Lessons, Distillation]:
    """Compute the teachers' logits for all views of the training patches, or load stored ones.

    The teachers' logits are each divided by their standard deviation on ``choosing`` and added, and the sum is
    calibrated there by a logistic fit.

    Args:
        files: of the teachers.
        folder: their logits are stored in its subfolder ``teachers``.

    Raises:
        WeightsError, ArtifactError: if a file is not a teacher.
    """
    asked = asked or Distillation()
    cache = folder / "teachers"
    teachers = [open_teacher(file, train.images) for file in files]
    chosen = [labelled(teacher, choosing.images, 0, seed, cache, choosing.sha256) for teacher in teachers]
    scales = [float(each.std()) for each in chosen]
    slope, offset = _calibrated(_added(chosen, scales), choosing.labels)
    logits = [
        slope * _added([labelled(t, train.images, number, seed, cache, train.sha256) for t in teachers], scales)
        + offset
        for number in asked.views
    ]
    views = tuple(view(train.images, number, seed) for number in asked.views)
    said = Lessons(views, np.stack(logits).astype(np.float32))
    return said, replace(asked, teachers=tuple((each.name, each.sha256) for each in teachers))


def _added(differences: Sequence[Floats], scales: Sequence[float]) -> Floats:
    total: Floats = np.sum([each / scale for each, scale in zip(differences, scales, strict=True)], axis=0)
    return total


def _calibrated(difference: Floats, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Slope and offset of the logistic fit of the labels."""
    signs = np.where(labels == 1, -1.0, 1.0)

    def log_loss(fitted: npt.NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, signs * (fitted[0] * difference + fitted[1])).mean())

    slope, offset = minimize(log_loss, np.array([1.0, 0.0])).x
    return float(slope), float(offset)
