"""A run continues after its last checkpoint is damaged, and reports a missing best checkpoint."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.installed import in_process
from tests.training.test_fit import QUIET, RECIPE, TOPOLOGY, learning_curve
from tests.training.tiny import LIGHTNING_WARNINGS
from training.checkpoints import CheckpointError, latest_checkpoint, require_best
from training.fit import Material, fit
from training.recipe import Recipe
from training.topologies import TOPOLOGIES

pytestmark = LIGHTNING_WARNINGS


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(Material.load(data), folder, TOPOLOGY, RECIPE, **QUIET)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """The finished run at its own place, which checkpoints name, and as it was after the test."""
    shutil.copytree(finished, tmp_path / "copy")
    yield finished
    shutil.rmtree(finished)
    shutil.copytree(tmp_path / "copy", finished)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def epoch(file: Path) -> int:
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return int(content["epoch"])


def test_a_run_keeps_the_checkpoint_before_the_last(finished: Path) -> None:
    assert (epoch(finished / "previous.ckpt"), epoch(finished / "last.ckpt")) == (1, 2)
    assert latest_checkpoint(finished) == finished / "last.ckpt"


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_run_with_a_damaged_last_checkpoint_goes_on_from_the_one_before(
    run: Path, data: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = learning_curve(run)
    if damage == "cut":
        cut(run / "last.ckpt")
    elif damage == "empty":
        (run / "last.ckpt").write_bytes(b"")
    else:
        (run / "last.ckpt").unlink()
    with caplog.at_level(logging.WARNING, "training.checkpoints"):
        assert latest_checkpoint(run) == run / "previous.ckpt"
    assert ("last.ckpt is truncated or damaged" in caplog.text) == (damage != "gone")
    fit(Material.load(data), run, TOPOLOGY, RECIPE, **QUIET)
    assert epoch(run / "last.ckpt") == 2
    curve = learning_curve(run)
    assert {name: list(by_epoch) for name, by_epoch in curve.items()} == {name: [0, 1, 2] for name in curve}
    assert {e: curve["valid_loss"][e] for e in (0, 1)} == {e: before["valid_loss"][e] for e in (0, 1)}


def test_the_best_checkpoint_is_the_last_resort(run: Path) -> None:
    cut(run / "last.ckpt")
    cut(run / "previous.ckpt")
    assert latest_checkpoint(run) == run / "best.ckpt"
    cut(run / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"all checkpoints in .* are truncated or damaged: delete it and train"):
        latest_checkpoint(run)


def test_a_new_run_has_no_checkpoint(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"holds no best\.ckpt: no epoch was finished"):
        require_best(tmp_path)


def test_weights_that_are_not_finite_are_no_network(run: Path) -> None:
    assert require_best(run) == run / "best.ckpt"
    content = torch.load(run / "best.ckpt", weights_only=True)
    content["state_dict"]["network.classifier.bias"][0] = float("nan")
    torch.save(content, run / "best.ckpt")
    with pytest.raises(
        CheckpointError, match=r"best\.ckpt holds weights that are not finite: train again with a lower"
    ):
        require_best(run)
    cut(run / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt is truncated or damaged"):
        require_best(run)


def test_train_names_no_next_step_without_a_checkpoint(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(Material.load(data), run, TOPOLOGIES["fast"], Recipe(epochs=1, batch_size=8, norm_patches=8), **QUIET)
    (run / "best.ckpt").unlink()
    options = ["--topology", "fast", "--epochs", "1", "--batch-size", "8", "--norm-patches", "8"]
    done = in_process("train", run, "--data", data, *options)
    assert done.exit_code == 1
    assert f"rosette train: {run} holds no best.ckpt" in done.stderr
    assert "Next:" not in done.stdout
