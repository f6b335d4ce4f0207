"""The P4M-DenseNet is trained, started from and measured by the commands of other networks, and not quantized."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.installed import in_process, rosette
from tests.training.tiny import LIGHTNING_WARNINGS, as_input, synthetic_patches, write_parquet
from training.data import load
from training.densenet import GROUP, P4M, P4MDenseNet
from training.fit import Material, fit
from training.layers import exact_turn
from training.mobilenetv2 import Topology
from training.recipe import Recipe, Run
from training.topologies import DENSENET
from training.weights import starting_network, trained_network

pytestmark = LIGHTNING_WARNINGS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer patches than other tests use: this network takes ten times as long."""
    folder = tmp_path_factory.mktemp("few")
    write_parquet(folder / "train.parquet", synthetic_patches(16))
    write_parquet(folder / "valid.parquet", synthetic_patches(32, 16))
    write_parquet(folder / "test.parquet", synthetic_patches(16, 48))
    return folder


def refusal(*arguments: str | Path, code: int) -> str:
    result = in_process(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for an epoch by the installed command."""
    folder = tmp_path_factory.mktemp("densenet") / "run"
    options = ("--epochs", "1", "--batch-size", "16", "--learning-rate", "0.001", "--precision", "32-true")
    said = rosette("train", folder, "--data", data, "--topology", DENSENET, *options)
    assert f"Next: rosette evaluate {folder} --data {data}" in said
    return folder


@torch.no_grad()
def test_the_run_holds_a_network_that_is_invariant_under_d4(run: Path) -> None:
    assert Run.read(run).topology == P4M
    network, x = trained_network(run), as_input(synthetic_patches(2).images)
    assert isinstance(network, P4MDenseNet)
    for element in range(8):
        assert torch.allclose(network(exact_turn(x, GROUP, element)), network(x), atol=1e-4)


def test_the_run_is_measured(run: Path, data: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    result = in_process("evaluate", run, "--data", data, "--split", "test", "--json", figures)
    assert result.exit_code == 0, result.output
    said = result.output
    assert "float32, uncalibrated" in said
    assert "D4: " in said
    measured = json.loads(figures.read_text())
    assert {"accuracy", "auc"} <= {metric["name"] for metric in measured["metrics"]}
    assert measured["exactness"]["largest_delta"] < 1e-3


def test_only_a_network_of_its_shape_starts_from_it(run: Path, data: Path, tmp_path: Path) -> None:
    started, _ = starting_network(run, load(data, "train"))
    assert torch.equal(started.state_dict()["stem.weight"], trained_network(run).state_dict()["stem.weight"])
    with pytest.raises(ValueError, match="holds a network of another topology"):
        fit(Material.load(data), tmp_path / "other", Topology(), Recipe(batch_size=16), run)


def test_it_starts_from_the_published_weights(shared: Path, data: Path) -> None:
    weights = shared / "teacher" / "p4m-densenet-pcam.npz"
    network, _ = starting_network(weights, load(data, "train"))
    assert network.topology == P4M


@pytest.mark.parametrize("command", [("quantize",), ("publish", "--name", "x", "--version", "0.1.0", "--out", "zoo")])
def test_it_is_not_quantized_or_published(
    run: Path, data: Path, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(command[0], run, "--data", data, *command[1:], code=2 if command[0] == "quantize" else 1)
    assert "p4m-densenet, which is not quantized or published: measure it with rosette evaluate" in said
    assert "Traceback" not in said


def test_other_groups_are_refused(data: Path, tmp_path: Path) -> None:
    said = refusal("train", tmp_path / "run", "--data", data, "--topology", DENSENET, "--group", "C4", code=2)
    assert "p4m-densenet has the group D4" in said
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_not_measured(data: Path, tmp_path: Path) -> None:
    said = refusal("evaluate", tmp_path, "--data", data, code=2)
    assert "is no run that can be measured" in said
