"""Fits a network: AdamW under Lightning; keeps the weights with the lowest validation loss."""

from __future__ import annotations

import csv
import ctypes
import gc
import platform
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, Dataset

from training.augment import augmented
from training.batchnorm import adapt
from training.checkpoints import LAST, PREVIOUS, latest_checkpoint, require_best
from training.data import Patches, halves_of_valid, load_to_fit
from training.denormals import without_denormals
from training.densenet import DenseNetTopology
from training.distill import Lessons, learn_from
from training.drawing import drawn, images_for_norms
from training.mobilenetv2 import Topology
from training.precision import choose_precision
from training.recipe import Recipe, Run
from training.weights import network_of, of_topology, starting_network

AVERAGING_STRIDE = 8
WARM_UP_STEPS = 100
M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX = -4, -1, -8


Batch = tuple[Tensor, Tensor, Tensor]


class _Rows(Dataset[Batch]):
    """A data set that returns whole batches: ``__getitems__`` indexes the arrays.

    Args:
        lessons: the teachers' logits for views of the patches; a batch then contains a random view of each patch
            and its soft logits, which are NaN without teachers.
    """

    def __init__(self, patches: Patches, lessons: Lessons | None = None) -> None:
        self.patches = patches
        self.lessons = lessons

    def __len__(self) -> int:
        return len(self.patches)

    def __getitems__(self, indices: list[int]) -> Batch:
        labels = torch.from_numpy(self.patches.labels[indices])
        if self.lessons is None:
            images = self.patches.images[indices]
            return torch.from_numpy(images), labels, torch.full((len(indices),), torch.nan)
        views = torch.randint(len(self.lessons.views), (len(indices),)).tolist()
        images = np.stack([self.lessons.views[v][i] for v, i in zip(views, indices, strict=True)])
        return torch.from_numpy(images), labels, torch.from_numpy(self.lessons.logits[views, indices])


def _loader(patches: Patches, batch_size: int, *, shuffle: bool, lessons: Lessons | None = None) -> DataLoader[Batch]:
    rows = _Rows(patches, lessons)
    return DataLoader(rows, batch_size, shuffle=shuffle, drop_last=shuffle, collate_fn=lambda batch: batch)


class Classifier(L.LightningModule):
    """The network with its loss and optimizer."""

    def __init__(self, topology: Topology | DenseNetTopology, recipe: Recipe) -> None:
        super().__init__()
        self.network = network_of(topology)
        self.recipe = recipe

    def loss(self, batch: Batch, *, augment: bool) -> tuple[Tensor, Tensor]:
        images, labels, soft = batch
        recipe = self.recipe
        taught = recipe.distillation if augment else None
        twins = augment and recipe.consistency > 0
        x = augmented(images, recipe) if augment else images.permute(0, 3, 1, 2).float() / 255
        if twins:
            labels, soft = labels.repeat(2), soft.repeat(2)
        logits = self.network(x.contiguous(memory_format=torch.channels_last)).float()
        loss = F.cross_entropy(logits, labels)
        if taught is not None:
            loss = taught.mixed(loss, logits, soft)
        if twins:
            loss = loss + recipe.consistency * divergence(*(logits[:, 1] - logits[:, 0]).chunk(2))
        return loss, (logits.argmax(1) == labels).float().mean()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        loss, accuracy = self.loss(batch, augment=self.recipe.augment)
        self.log_dict({"train_loss": loss, "train_accuracy": accuracy}, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        loss, accuracy = self.loss(batch, augment=False)
        self.log_dict(
            {"valid_loss": loss, "valid_accuracy": accuracy}, prog_bar=True, batch_size=len(batch[1]), sync_dist=True
        )

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        filters = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": filters, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            fused=True,
        )
        steps = max(6, int(self.trainer.estimated_stepping_batches))  # of 5, a warm-up of 1 step divides by zero
        schedule = learning_rates(optimizer, recipe, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Mean of KL(p, q) + KL(q, p) of the probabilities p, q of two vectors of logit differences [N]."""
    return ((first.sigmoid() - second.sigmoid()) * (first - second)).mean()


class KeepPrevious(L.Callback):
    """Keeps the last checkpoint as ``previous.ckpt`` when an epoch ends, before the next one is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        last = self._folder / LAST
        if not trainer.sanity_checking and last.exists():
            last.replace(self._folder / PREVIOUS)


def learning_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """The recipe's schedule over this number of steps."""
    if recipe.schedule == "one-cycle":
        return OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.2)
    warm_up = max(1, min(WARM_UP_STEPS, steps // 10))
    falls = recipe.schedule == "decay"

    def factor(step: int) -> float:
        risen = min(1.0, (step + 1) / warm_up)
        return risen * max(0.0, 1 - step / steps) if falls else risen

    return LambdaLR(optimizer, factor)


def keep_freed_memory() -> None:
    """Make glibc keep freed activations: returning 40 MB tensors and faulting them in again halves the speed."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_ARENA_MAX, 1)


@rank_zero_only
def _keep_finished_epochs(curve: CSVLogger, folder: Path, checkpoint: Path | None) -> None:
    """Copy the rows of a killed run into the new ``metrics.csv`` of Lightning."""
    rows = []
    if checkpoint is not None and (folder / "metrics.csv").exists():
        last = torch.load(checkpoint, map_location="cpu", weights_only=True)
        with (folder / "metrics.csv").open() as lines:
            for cells in csv.DictReader(lines):
                row: dict[str, Tensor | float] = {
                    k: int(v) if k in {"epoch", "step"} else float(v) for k, v in cells.items() if v
                }
                if row["epoch"] <= last["epoch"] if "epoch" in row else row["step"] < last["global_step"]:
                    rows.append(row)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Experiment logs directory")
        for row in rows:
            curve.log_metrics(row, int(row["step"]))
        curve.save()


@dataclass(frozen=True)
class Material:
    """The data of a fit: all training patches, and the choosing half of valid."""

    train: Patches
    choosing: Patches

    @staticmethod
    def load(data: Path, *, allow_duplicates: bool = False) -> Material:
        """Read a data folder, see :mod:`training.data`.

        Raises:
            DataError: if a split is missing or invalid.
        """
        return Material.of(*load_to_fit(data, allow_duplicates=allow_duplicates))

    @staticmethod
    def of(train: Patches, valid: Patches) -> Material:
        """The data of a fit from the two splits of a folder."""
        return Material(train, halves_of_valid(valid)[0])


def fit(
    material: Material,
    folder: Path,
    topology: Topology | DenseNetTopology,
    recipe: Recipe,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    loggers: Sequence[Logger] = (),
    followers: Sequence[L.Callback] = (),
    **trainer: Any,
) -> Path:
    """Fit a network and return the checkpoint with the lowest validation loss.

    The same call continues a killed run from its last complete epoch.

    Args:
        folder: folder for checkpoints, ``run.json`` and ``metrics.csv`` (the learning curve).
        start: source of the initial weights instead of random ones: a run folder's best weights, or a float32
            artifact's, see :mod:`training.recover`, or an expanded P4M-DenseNet's (``.npz``).
        teachers: files of the networks for the recipe's distillation, see :func:`training.teachers.open_teacher`;
            their answers are stored beside ``folder``, in ``teachers``.
        loggers, followers: further logs, and callbacks that show the progress, see :mod:`training.progress`.
        trainer: passed to Lightning's Trainer, such as ``devices``, ``num_nodes`` or ``strategy``.

    Raises:
        ValueError: if ``folder`` contains another run, the topology leaves the symmetric grids, the weights of
            ``start`` do not fit, or the recipe asks for more patches than there are, or for fewer than a batch.
        CheckpointError: if all checkpoints of ``folder`` are damaged, or its best one is missing or not finite.
        FileNotFoundError: if ``start`` is not a run folder or has not finished an epoch.
    """
    if isinstance(topology, Topology):
        topology.grids()
    train = drawn(material.train, recipe)
    started = None
    if start is not None:
        started, digest = starting_network(start, train)
        started = of_topology(started, topology, start)
        recipe = replace(recipe, start_sha256=digest)
    lessons = None
    if teachers:
        lessons, distillation = learn_from(teachers, recipe.distillation, train, material.choosing, folder.parent)
        recipe = replace(recipe, distillation=distillation)
    run = Run(topology, recipe, material.train.source, material.train.sha256)
    if (folder / "run.json").exists() and Run.read(folder) != run:
        raise ValueError(f"{folder} holds a run with other settings or data; name another folder or delete it")
    if recipe.consistency and not recipe.augment:
        raise ValueError("consistency needs augmentation: without it a patch and its twin are equal")
    if len(train) < recipe.batch_size:
        raise ValueError(f"{len(train):,} training patches fill no batch of {recipe.batch_size}: choose a smaller one")
    run.write(folder)
    keep_freed_memory()
    L.seed_everything(recipe.seed)
    best = ModelCheckpoint(folder, "best", monitor="valid_loss", enable_version_counter=False)
    # Not save_last: it follows the best checkpoint, and a resumed run would repeat all later epochs.
    latest = ModelCheckpoint(folder, "last", enable_version_counter=False)
    curve = CSVLogger(folder, name=None, version="")
    checkpoint = latest_checkpoint(folder)
    _keep_finished_epochs(curve, folder, checkpoint)
    callbacks: list[L.Callback] = [best, latest, KeepPrevious(folder), LearningRateMonitor("epoch"), *followers]
    steps = recipe.epochs * (len(train) // recipe.batch_size)
    if recipe.averaged:
        decay = max(0.0, 1 - AVERAGING_STRIDE / (recipe.averaged * steps))
        callbacks.insert(0, EMAWeightAveraging(decay=decay, update_every_n_steps=AVERAGING_STRIDE))
    classifier = Classifier(topology, recipe)
    with without_denormals():
        precision = choose_precision(recipe.precision, classifier, recipe.batch_size, steps)
    gc.freeze()  # Garbage collection over torch's and e2cnn's objects costs 5 % of the time.
    fitter = L.Trainer(
        max_epochs=recipe.epochs,
        precision=precision,
        logger=[curve, *loggers],
        callbacks=callbacks,
        default_root_dir=folder,
        **trainer,
    )
    if started is not None:
        classifier.network.load_state_dict(started.state_dict())
    with without_denormals():
        fitter.fit(
            classifier,
            _loader(train, recipe.batch_size, shuffle=True, lessons=lessons),
            _loader(material.choosing, 256, shuffle=False),
            ckpt_path=checkpoint,
        )
        found = Path(best.best_model_path)
        if recipe.norm_patches:
            _estimate_norms_again(require_best(folder), classifier, train, recipe)
    return found


@rank_zero_only
def _estimate_norms_again(checkpoint: Path, classifier: Classifier, train: Patches, recipe: Recipe) -> None:
    """Replace a checkpoint's statistics of batch norm; doing it again changes nothing."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    classifier.cpu().load_state_dict(content["state_dict"])
    adapt(classifier.network, images_for_norms(train, recipe))
    content["state_dict"] = classifier.state_dict()
    part = checkpoint.with_suffix(".part")
    torch.save(content, part)
    part.replace(checkpoint)
