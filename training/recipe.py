"""The settings of a fit, and what ``run.json`` keeps of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, TypeAdapter

from training.topology import DenseNetTopology, Topology

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["auto", "bf16-mixed", "32-true"]
Schedule = Literal["one-cycle", "constant", "decay"]
Shape = Annotated[DenseNetTopology | Topology, Field(union_mode="left_to_right")]
NOT_QUANTIZED = (
    "this is a run of a p4m-densenet, which is not quantized or published: measure it with rosette evaluate RUN, or "
    "have a mobilenetv2 learn from its network"
)


@dataclass(frozen=True)
class Distillation:
    """Settings of distillation.

    Attributes:
        views: numbers of the views of :func:`training.views.view`.
        weight: of the teachers against the labels, from 0 to 1.
        temperature: softens both; the teachers' logits are calibrated before.
        teachers: names and SHA-256 of the teachers' files.
    """

    views: tuple[int, ...] = (1, 2)
    weight: float = 0.7
    temperature: float = 1.0
    teachers: tuple[tuple[str, str], ...] = ()

    def mixed(self, label_loss: Tensor, logits: Tensor, soft: Tensor) -> Tensor:
        """The loss of labels and teachers together.

        Args:
            label_loss: cross-entropy against the labels, a scalar.
            logits: the student's, [N, 2].
            soft: the teachers' difference of the two logits, [N].
        """
        from torch.nn import functional as F  # the settings alone are read without torch

        difference = (logits[:, 1] - logits[:, 0]) / self.temperature
        taught = F.binary_cross_entropy_with_logits(difference, (soft / self.temperature).sigmoid())
        return (1 - self.weight) * label_loss + self.weight * self.temperature**2 * taught


@dataclass(frozen=True)
class Recipe:
    """The settings of a fit.

    Attributes:
        epochs: passes over the training patches.
        batch_size: patches per step and process.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW, only on filters.
        augment: quarter turns, reflections, stain jitter and focus.
        stain_jitter: strength of the jitter, see :func:`training.augment.jitter_stain`.
        refocus: strength of blur and sharpening, see :func:`training.augment.refocus`.
        patches: number of training patches, drawn by ``seed``; 0 for all.
        averaged: share of the run's steps for the exponential average of the final weights; 0 for none.
        seed: seed of the weights, the order of patches and the augmentation.
        start_sha256: of the file with the initial weights; empty for weights drawn by ``seed``.
        schedule: of the learning rate: ``one-cycle``; or, for a training in segments,
            ``constant`` (after a warm-up) and ``decay`` (from the peak to 0, after a warm-up).
        shift_px: largest random shift, see :func:`training.augment.shift_and_zoom`. A teachers' view that is shifted
            further keeps their answer, so that the student's does not depend on where the grid of pixels lay.
        zoom: largest random change of the scale, likewise.
        jpeg: share of the patches that are re-encoded, see :func:`training.augment.reencode`.
        consistency: weight of the divergence between the answers to a patch and to its twin, which is shifted
            and re-encoded, see :func:`training.augment.augmented`; 0 for none. A step then takes twice
            ``batch_size`` images.
        norm_patches: training patches, as they are, on which the statistics of batch norm are estimated again after the
            last epoch, see :func:`training.batchnorm.adapt`; 0 keeps those of the augmented patches.
        precision: ``bf16-mixed``, ``32-true``, or ``auto`` for the faster one on this machine.
        distillation: settings of distillation; None for labels only.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 0.05
    augment: bool = True
    stain_jitter: float = 0.2
    refocus: float = 0.0
    averaged: float = 0.05
    patches: int = 0
    seed: int = 0
    start_sha256: str = ""
    schedule: Schedule = "one-cycle"
    shift_px: int = 0
    zoom: float = 0.0
    jpeg: float = 0.0
    consistency: float = 0.0
    norm_patches: int = 0
    precision: Precision = "auto"
    distillation: Distillation | None = None


@dataclass(frozen=True)
class Average:
    """Two networks whose weights were averaged, see :func:`training.averaging.average`.

    Attributes:
        run_sha256: of the file with the weights of the run that the recipe made.
        other: name of the other network's file or folder.
        other_sha256: of the file with its weights.
        weight: share of the other network, from 0 to 1.
    """

    run_sha256: str
    other: str
    other_sha256: str
    weight: float


@dataclass(frozen=True)
class Joined:
    """A second network whose logits are added, see :mod:`training.joining`.

    Attributes:
        name: of the file or folder with its weights.
        sha256: of the file with its weights.
        factor: multiplies its logits; the mean of both networks' logits is the answer.
        recipe: of its fit, which may have started from others' weights; None for a file.
    """

    name: str
    sha256: str
    factor: float
    recipe: Recipe | None = None

    @property
    def origin(self) -> str:
        """Where its weights come from, as the end of a sentence."""
        if self.recipe is None:
            return f"{self.name}, which was trained elsewhere"
        start = self.recipe.start_sha256
        return f"{self.name}, fitted " + (f"from the weights with SHA-256 {start}" if start else "on the same data")


@dataclass(frozen=True)
class Run:
    """The content of ``run.json``: enough to repeat the run and to export its network.

    Attributes:
        average: of what the weights are an average; None for those of a fit.
        joined: the second network, whose weights are in ``second.ckpt``; None for a network by itself.
    """

    topology: Shape
    recipe: Recipe
    data: str
    data_sha256: str
    average: Average | None = None
    joined: Joined | None = None

    @property
    def mobilenet(self) -> Topology:
        """The topology of a network that can be quantized and published.

        Raises:
            ValueError: if the run is another network's.
        """
        if isinstance(self.topology, Topology):
            return self.topology
        raise ValueError(NOT_QUANTIZED)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def read(folder: Path) -> Run:
        return TypeAdapter(Run).validate_json((folder / "run.json").read_bytes())
