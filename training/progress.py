"""What a training shows while it runs: lines with the time that is left, a plot, and logs for other tools."""

from __future__ import annotations

import logging
import os
import warnings
from csv import DictReader
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from training.messages import duration, say

MLFLOW = "MLFLOW_TRACKING_URI"
FIRST_ESTIMATE_S = 30.0
NOISE = ("Tip: ", "TPU available", "Loading `train_dataloader`")


class Progress(L.Callback):
    """Writes a line and ``learning_curve.png`` when an epoch ends, and early on how long the run will take."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = 0.0
        self._first_epoch = 0
        self._steps = 0
        self._estimated = False
        self._lowest = float("inf")

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._began, self._first_epoch = monotonic(), trainer.current_epoch
        parameters = sum(parameter.numel() for parameter in module.parameters())
        say(
            f"Training {parameters:,} parameters for {trainer.max_epochs} epochs of {trainer.num_training_batches:,} "
            f"steps, in {trainer.precision}, from epoch {trainer.current_epoch + 1}."
        )
        for logger in trainer.loggers:
            if isinstance(logger, MLFlowLogger):
                logger.log_hyperparams(asdict(module.recipe))  # type: ignore[call-overload]

    @rank_zero_only
    def on_train_batch_end(self, trainer: L.Trainer, _module: L.LightningModule, *_: Any) -> None:
        self._steps += 1
        passed = monotonic() - self._began
        if not self._estimated and self._steps > 1 and passed >= FIRST_ESTIMATE_S:
            self._estimated = True
            steps = (_epochs(trainer) - self._first_epoch) * int(trainer.num_training_batches) - self._steps
            say(f"{passed / self._steps:.2g} s a step: about {duration(passed / self._steps * steps)} left.")

    @rank_zero_only
    def on_train_epoch_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        self._estimated = True
        done, figures = trainer.current_epoch + 1, trainer.callback_metrics
        before = getattr(trainer.checkpoint_callback, "best_model_score", None)  # also of a run that is continued
        self._lowest = min(self._lowest, float(figures["valid_loss"]), float("inf" if before is None else before))
        left = (monotonic() - self._began) / (done - self._first_epoch) * (_epochs(trainer) - done)
        say(
            f"Epoch {done} of {_epochs(trainer)}: loss {figures['train_loss']:.4f}, valid {figures['valid_loss']:.4f} "
            f"(lowest {self._lowest:.4f}), valid accuracy {figures['valid_accuracy']:.3f}; "
            + (f"about {duration(left)} left." if done < _epochs(trainer) else "finished.")
        )

    @rank_zero_only
    def on_train_epoch_start(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        if trainer.current_epoch > self._first_epoch:
            self._draw(trainer)

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        draw_learning_curve(self._folder)


def _epochs(trainer: L.Trainer) -> int:
    return int(trainer.max_epochs or 0)


def draw_learning_curve(folder: Path) -> None:
    """Write ``learning_curve.png`` beside ``metrics.csv``: loss and accuracy by epoch, if an epoch is finished."""
    from matplotlib.figure import Figure

    with (folder / "metrics.csv").open() as lines:
        rows = list(DictReader(lines))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in ("train", "valid"):
            points = [
                (int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name := f"{split}_{measure}")
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=split)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        axes.grid(alpha=0.3)
    unfinished = folder / "learning_curve.part.png"
    figure.savefig(unfinished, dpi=120)
    unfinished.replace(folder / "learning_curve.png")


def loggers(folder: Path) -> list[Logger]:
    """TensorBoard's log in the run folder, and MLflow where ``MLFLOW_TRACKING_URI`` is set.

    Raises:
        ValueError: if that is set, and MLflow is not installed or refuses it.
    """
    made: list[Logger] = [TensorBoardLogger(folder, name="tensorboard", version="")]
    if uri := os.environ.get(MLFLOW):
        if find_spec("mlflow") is None:
            raise ValueError(
                f"{MLFLOW} is set, but MLflow is not installed: run `pip install mlflow-skinny`, or unset {MLFLOW}"
            )
        made.append(_mlflow(uri, folder))
    return made


def _mlflow(uri: str, folder: Path) -> Logger:
    try:
        return MLFlowLogger("rosette", run_name=folder.resolve().name, tracking_uri=uri)
    except import_module("mlflow.exceptions").MlflowException as error:
        raise ValueError(f"MLflow refuses {MLFLOW}={uri}: {error}") from error


def without_noise() -> None:
    """Keep Lightning's advertisements, and warnings about what Rosette does on purpose, out of the output."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not any(text in record.getMessage() for text in NOISE)
    )
    for message in (
        "Checkpoint directory .* exists and is not empty",
        "The number of training batches .* is smaller than the logging interval",
        "`isinstance.treespec, LeafSpec.` is deprecated",
    ):
        warnings.filterwarnings("ignore", message)
