"""Fitting: learns, is reproducible, continues after a kill, and keeps the whole learning curve."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from tests.conftest import ROOT
from tests.training.tiny import LIGHTNING_WARNINGS, synthetic_patches, tiny_topology, write_parquet
from training.data import DataError, Patches, load
from training.drawing import drawn
from training.fit import Material, fit
from training.mobilenetv2 import MobileNetV2, Topology
from training.recipe import Recipe, Run
from training.weights import fitted_network

pytestmark = LIGHTNING_WARNINGS
TOPOLOGY = tiny_topology("C4")
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.02, precision="bf16-mixed")
QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}

# Tells on stdout when the network was called, and whether to train.
FIT_ALOUD = """
import sys
from pathlib import Path
from typing import Any
from torch.nn.modules.module import register_module_forward_hook
from tests.training.test_fit import QUIET, RECIPE, TOPOLOGY
from training.fit import Material, fit
from training.mobilenetv2 import MobileNetV2

def tell(module, inputs, output):
    if isinstance(module, MobileNetV2):
        print("train" if module.training else "validate", flush=True)

register_module_forward_hook(tell)
fit(Material.load(Path(sys.argv[1])), Path(sys.argv[2]), TOPOLOGY, RECIPE, **QUIET)
"""


def learning_curve(folder: Path) -> dict[str, dict[int, float]]:
    """Every figure of ``metrics.csv`` by epoch; a figure that stands there twice for an epoch fails the test."""
    figures: dict[str, dict[int, float]] = {}
    with (folder / "metrics.csv").open() as lines:
        for row in csv.DictReader(lines):
            for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"):
                if row[name]:
                    by_epoch = figures.setdefault(name, {})
                    assert int(row["epoch"]) not in by_epoch
                    by_epoch[int(row["epoch"])] = float(row[name])
    return figures


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(Material.load(data), folder, TOPOLOGY, RECIPE, **QUIET)
    return folder


def test_the_loss_falls(finished: Path) -> None:
    curve = learning_curve(finished)
    assert {name: list(by_epoch) for name, by_epoch in curve.items()} == {name: [0, 1, 2] for name in curve}
    assert curve["train_loss"][2] < curve["train_loss"][0]


def test_the_weights_with_the_lowest_validation_loss_are_kept(finished: Path) -> None:
    losses = learning_curve(finished)["valid_loss"]
    best = torch.load(finished / "best.ckpt", weights_only=True)
    assert best["epoch"] == min(losses, key=losses.__getitem__)
    network = fitted_network(finished)
    assert not network.training
    assert network.topology == TOPOLOGY
    assert torch.equal(network.classifier.weight, best["state_dict"]["network.classifier.weight"])


def test_the_run_says_how_to_repeat_it(finished: Path, data: Path) -> None:
    assert Run.read(finished) == Run(TOPOLOGY, RECIPE, "train*.parquet: 48 patches", load(data, "train").sha256)


def test_equal_seeds_give_equal_runs(finished: Path, data: Path, tmp_path: Path) -> None:
    fit(Material.load(data), tmp_path / "again", TOPOLOGY, RECIPE, **QUIET)
    assert learning_curve(tmp_path / "again") == learning_curve(finished)


def test_another_seed_gives_another_run(finished: Path, data: Path, tmp_path: Path) -> None:
    fit(Material.load(data), tmp_path / "other", TOPOLOGY, replace(RECIPE, seed=1, epochs=1), **QUIET)
    assert learning_curve(tmp_path / "other")["train_loss"][0] != learning_curve(finished)["train_loss"][0]


def test_a_killed_run_goes_on_where_it_stopped(finished: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", FIT_ALOUD, str(data), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "train" and (folder / "last.ckpt").exists():
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    done = torch.load(folder / "last.ckpt", weights_only=True)["epoch"] + 1
    assert 1 <= done < RECIPE.epochs
    before = learning_curve(folder)

    fit(Material.load(data), folder, TOPOLOGY, RECIPE, **QUIET)
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] + 1 == RECIPE.epochs
    after = learning_curve(folder)
    assert {name: list(by_epoch) for name, by_epoch in after.items()} == {name: [0, 1, 2] for name in after}
    for name, by_epoch in before.items():
        assert {epoch: after[name][epoch] for epoch in range(done)} == {e: by_epoch[e] for e in range(done)}
    assert after.keys() == learning_curve(finished).keys()


@pytest.mark.parametrize("steps", [1, 5])
def test_few_steps_are_a_run_too(tmp_path: Path, steps: int) -> None:
    write_parquet(tmp_path / "train.parquet", synthetic_patches(8))
    write_parquet(tmp_path / "valid.parquet", synthetic_patches(48, 48))
    fit(Material.load(tmp_path), tmp_path / "run", TOPOLOGY, replace(RECIPE, epochs=steps), **QUIET)
    assert len(learning_curve(tmp_path / "run")["valid_loss"]) == steps


def test_the_last_epoch_is_kept_even_if_an_earlier_one_was_better(tmp_path: Path) -> None:
    """With the validation labels exchanged, what is learned makes the validation loss worse."""
    valid = synthetic_patches(32, first_seed=100)
    write_parquet(tmp_path / "train.parquet", synthetic_patches(32))
    write_parquet(tmp_path / "valid.parquet", Patches(valid.images, 1 - valid.labels, valid.source))
    fit(Material.load(tmp_path), tmp_path / "run", TOPOLOGY, replace(RECIPE, epochs=8), **QUIET)
    best, last = (torch.load(tmp_path / "run" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["epoch"] < last["epoch"] == 7


def test_a_finished_run_is_left_as_it_is(finished: Path, data: Path) -> None:
    curve, weights = (finished / "metrics.csv").read_text(), (finished / "best.ckpt").read_bytes()
    assert fit(Material.load(data), finished, TOPOLOGY, RECIPE, **QUIET) == finished / "best.ckpt"
    assert learning_curve(finished) == learning_curve_of(curve, finished.parent / "copy")
    assert (finished / "best.ckpt").read_bytes() == weights


def learning_curve_of(text: str, folder: Path) -> dict[str, dict[int, float]]:
    folder.mkdir()
    (folder / "metrics.csv").write_text(text)
    return learning_curve(folder)


@pytest.mark.parametrize("other", [replace(RECIPE, learning_rate=0.01), replace(RECIPE, epochs=9)])
def test_a_folder_with_another_run_is_refused(finished: Path, data: Path, other: Recipe) -> None:
    with pytest.raises(ValueError, match="holds a run with other settings or data; name another folder or delete it"):
        fit(Material.load(data), finished, TOPOLOGY, other, **QUIET)


def test_a_folder_with_another_topology_is_refused(finished: Path, data: Path) -> None:
    with pytest.raises(ValueError, match="holds a run with other settings or data"):
        fit(Material.load(data), finished, tiny_topology("D4"), RECIPE, **QUIET)


def test_a_topology_that_leaves_the_grids_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves the symmetric grids"):
        fit(Material.load(data), tmp_path / "run", Topology(stem_px=3), RECIPE)
    with pytest.raises(DataError, match="holds no 'train' split"):
        fit(Material.load(tmp_path), tmp_path / "run", TOPOLOGY, RECIPE)
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_finished_epoch_has_no_network(finished: Path, tmp_path: Path) -> None:
    Run.read(finished).write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"best\.ckpt"):
        fitted_network(tmp_path)


def test_activations_are_bfloat16_and_channels_last(data: Path, tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def look(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if isinstance(module, MobileNetV2):
            seen.append(module.classifier.weight)
        elif isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            seen.append(output)

    handle = register_module_forward_hook(look)
    try:
        fit(
            Material.load(data),
            tmp_path,
            TOPOLOGY,
            replace(RECIPE, epochs=1),
            limit_train_batches=2,
            limit_val_batches=1,
            **QUIET,
        )
    finally:
        handle.remove()
    activations = [tensor for tensor in seen if tensor.ndim == 4]
    assert len(activations) > 30
    assert {tensor.dtype for tensor in activations} == {torch.bfloat16}
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in activations)
    assert {tensor.dtype for tensor in seen if tensor.ndim == 2} == {torch.float32}


def test_fewer_patches_are_a_part_of_more_and_drawn_by_the_seed() -> None:
    train = synthetic_patches(32)
    few, more, other = (
        drawn(train, replace(RECIPE, patches=count, seed=seed)) for count, seed in ((8, 0), (16, 0), (8, 1))
    )
    assert (len(few), len(more)) == (8, 16)
    found = {image.tobytes() for image in more.images}
    assert {image.tobytes() for image in few.images} < found
    assert {image.tobytes() for image in other.images} != {image.tobytes() for image in few.images}
    assert drawn(train, RECIPE) is train
    with pytest.raises(ValueError, match="the recipe asks for 33 training patches, there are 32"):
        drawn(train, replace(RECIPE, patches=33))


def test_what_counts_is_the_average_over_the_last_steps(data: Path, tmp_path: Path) -> None:
    fit(Material.load(data), tmp_path / "run", TOPOLOGY, replace(RECIPE, averaged=0.9, epochs=8), **QUIET)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    averaged, current = (saved[k]["network.classifier.weight"] for k in ("state_dict", "current_model_state"))
    assert not torch.equal(averaged, current)


def test_fewer_patches_than_a_batch_are_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="48 training patches fill no batch of 64: choose a smaller one"):
        fit(Material.load(data), tmp_path / "run", TOPOLOGY, replace(RECIPE, batch_size=64))
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_the_weights_of_another(finished: Path, data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-9, averaged=0.0, refocus=1.0)
    fit(Material.load(data), tmp_path / "run", TOPOLOGY, recipe, finished, **QUIET)
    started, start = (fitted_network(folder).classifier.weight for folder in (tmp_path / "run", finished))
    torch.testing.assert_close(started, start, rtol=0, atol=1e-6)
    assert Run.read(tmp_path / "run").recipe.start_sha256 == sha256((finished / "best.ckpt").read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="holds a run with other settings or data"):
        fit(Material.load(data), tmp_path / "run", TOPOLOGY, recipe, **QUIET)


def test_a_start_of_another_topology_is_refused_before_anything_is_written(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds a network of another topology, and its weights do not fit"):
        fit(Material.load(data), tmp_path / "run", tiny_topology("D4"), RECIPE, finished, **QUIET)
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        fit(Material.load(data), tmp_path / "run", TOPOLOGY, RECIPE, tmp_path, **QUIET)
    assert not (tmp_path / "run").exists()
