"""Averages of networks are run folders that are quantized and described as others; bad input writes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model_zoo.cli import application
from model_zoo.turns import Patch
from tests.training.artifacts import artifact
from tests.training.tiny import as_input, settled_network, synthetic_patches, tiny_topology
from training.averaging import average
from training.batchnorm import adapt
from training.data import Patches, load
from training.mobilenetv2 import MobileNetV2, Topology
from training.publish import card
from training.quantize.pipeline import quantize
from training.quantize.run import quantize_run
from training.recipe import Average, Recipe, Run
from training.weights import fitted_network

TOPOLOGY = tiny_topology("C4")
NORM_PATCHES = 32
CURVE = "epoch,step,train_loss,train_accuracy,valid_loss,valid_accuracy\n0,5,0.6,0.7,0.5,0.8\n"


def write_run(folder: Path, network: MobileNetV2, data_sha256: str) -> Path:
    """A run folder with this network's weights."""
    Run(network.topology, Recipe(learning_rate=0.5), "synthetic", data_sha256).write(folder)
    torch.save({"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}, folder / "best.ckpt")
    (folder / "metrics.csv").write_text(CURVE)
    return folder


@pytest.fixture(scope="module")
def train(data: Path) -> Patches:
    return load(data, "train")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, train: Patches) -> list[Path]:
    """Two runs of one topology."""
    folder = tmp_path_factory.mktemp("runs")
    networks = [settled_network(TOPOLOGY, train.images[:16], seed) for seed in (1, 2)]
    return [write_run(folder / f"run{i}", network, train.sha256) for i, network in enumerate(networks)]


def digest(run: Path) -> str:
    return sha256((run / "best.ckpt").read_bytes()).hexdigest()


def averaged(runs: list[Path], folder: Path, train: Patches, weight: float) -> MobileNetV2:
    average(runs[0], runs[1], folder, train, weight=weight, norm_patches=NORM_PATCHES)
    return fitted_network(folder)


def test_weights_are_averaged_and_batch_norm_is_estimated_again(
    runs: list[Path], train: Patches, tmp_path: Path
) -> None:
    first, second = map(fitted_network, runs)
    network = averaged(runs, tmp_path / "new", train, 0.25)
    expected = dict(second.named_parameters())
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(network.get_parameter(name), 0.75 * parameter + 0.25 * expected[name])
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}
    chosen = np.random.default_rng(0).permutation(len(train))[:NORM_PATCHES]
    again = dict(adapt(network, train.images[chosen]).named_buffers())
    assert statistics
    for name, buffer in statistics.items():
        torch.testing.assert_close(buffer, again[name])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_are_the_networks_themselves(runs: list[Path], train: Patches, tmp_path: Path, weight: float) -> None:
    network, given = averaged(runs, tmp_path / "new", train, weight), fitted_network(runs[int(weight)])
    for name, parameter in given.named_parameters():
        torch.testing.assert_close(network.get_parameter(name), parameter)


def test_the_command_writes_a_run_that_names_both_sources(
    runs: list[Path], data: Path, tmp_path: Path, artifact_path: Path, float_artifact_path: Path
) -> None:
    new = tmp_path / "runs" / "new"
    said = invoke("average", *runs, "--data", data, "--out", new, "--weight", "0.4", "--norm-patches", "32")
    assert f"Next: rosette quantize {new} --data {data}" in said
    source = Run.read(runs[0])
    assert Run.read(new) == replace(
        source,
        recipe=replace(source.recipe, norm_patches=32),
        average=Average(digest(runs[0]), "run1", digest(runs[1]), 0.4),
    )
    assert [file.name for file in new.parent.iterdir()] == ["new"], "no unfinished folder is left"
    quantize_run(new, synthetic_patches(4).images)
    assert (new / "int8.onnx").exists()
    text = card(new, artifact_path, float_artifact_path)
    assert f"an average: 0.6 times those that were fitted so (SHA-256 `{digest(runs[0])}`), plus 0.4 times" in text
    assert f"`run1` (SHA-256 `{digest(runs[1])}`)" in text
    assert "| 1 | 0.6000 | 0.7000 | 0.5000 | 0.8000 |" in text


def test_without_another_network_only_batch_norm_is_estimated_again(
    runs: list[Path], train: Patches, data: Path, tmp_path: Path, artifact_path: Path, float_artifact_path: Path
) -> None:
    new = tmp_path / "new"
    invoke("average", runs[0], "--data", data, "--out", new, "--norm-patches", "32")
    source, made = fitted_network(runs[0]), fitted_network(new)
    for name, parameter in source.named_parameters():
        assert torch.equal(made.get_parameter(name), parameter)
    chosen = np.random.default_rng(0).permutation(len(train))[:NORM_PATCHES]
    expected = dict(adapt(source, train.images[chosen]).named_buffers())
    for name, buffer in made.named_buffers():
        torch.testing.assert_close(buffer, expected[name])
    assert Run.read(new).average is None
    assert "norm patches 32" in card(new, artifact_path, float_artifact_path)
    said = invoke("average", runs[0], "--data", data, "--out", tmp_path / "other", "--weight", "0.3", code=2)
    assert "Invalid value for --weight" in said
    assert not (tmp_path / "other").exists()


@torch.no_grad()
def test_a_float_artifact_is_averaged_too(runs: list[Path], train: Patches, images: Patch, tmp_path: Path) -> None:
    """With its own artifact a run gives its own function: the scales of recovered filters do not matter."""
    network = fitted_network(runs[0])
    file = tmp_path / "same.fp32.onnx"
    architecture = {"family": "mobilenetv2", **json.loads(json.dumps(asdict(TOPOLOGY)))}
    file.write_bytes(artifact("C4", "float32", quantize(network, images[:4]), architecture=architecture))
    made = []
    for name in ("once", "twice"):
        average(runs[0], file, tmp_path / name, train, weight=1.0, norm_patches=len(train))
        made.append(fitted_network(tmp_path / name))
        torch.rand(1)
    expected = adapt(network, train.images)(as_input(images))
    torch.testing.assert_close(made[0](as_input(images)), expected, atol=1e-2, rtol=1e-2)
    for name, tensor in made[0].state_dict().items():
        torch.testing.assert_close(tensor, made[1].state_dict()[name], rtol=1e-4, atol=1e-4, msg=f"{name} differs")


def invoke(*words: str | Path, code: int = 0) -> str:
    arguments = [str(word) for word in words]
    done = CliRunner().invoke(application(arguments), arguments, terminal_width=200)
    assert done.exit_code == code, done.output
    return done.output


def test_an_existing_folder_is_left_alone(runs: list[Path], data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    said = invoke("average", *runs, "--data", data, "--out", tmp_path / "mine", code=2)
    assert "exists already: name a new folder" in said
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("weight", ["-0.1", "1.5", "nan"])
def test_other_weights_are_refused(runs: list[Path], data: Path, tmp_path: Path, weight: str) -> None:
    said = invoke("average", *runs, "--data", data, "--out", tmp_path / "new", "--weight", weight, code=2)
    assert "weight" in said
    assert list(tmp_path.iterdir()) == []


def test_another_topology_is_refused(runs: list[Path], train: Patches, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", MobileNetV2(tiny_topology("C2")), train.sha256)
    refused([runs[0], other], tmp_path / "new", train, "different topologies")


def test_padding_makes_another_topology(runs: list[Path], train: Patches, tmp_path: Path) -> None:
    """Their weights have equal shapes."""
    softened: Topology = replace(TOPOLOGY, softened=())
    other = write_run(tmp_path / "other", MobileNetV2(softened), train.sha256)
    refused([runs[0], other], tmp_path / "new", train, "different topologies")


def test_weights_that_are_not_finite_are_refused(runs: list[Path], train: Patches, tmp_path: Path) -> None:
    network = fitted_network(runs[0])
    with torch.no_grad():
        network.classifier.weight[0, 0] = torch.nan
    other = write_run(tmp_path / "other", network, train.sha256)
    for pair in ([runs[0], other], [other, runs[0]]):
        refused(pair, tmp_path / "new", train, "weights that are not finite")


def test_a_run_on_other_data_is_refused(runs: list[Path], train: Patches, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", fitted_network(runs[0]), "0" * 64)
    refused([other, runs[1]], tmp_path / "new", train, "was trained on other data")


def refused(pair: list[Path], folder: Path, train: Patches, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        average(pair[0], pair[1], folder, train, weight=0.5, norm_patches=NORM_PATCHES)
    assert not folder.exists()


def test_what_is_no_run_is_refused(runs: list[Path], data: Path, tmp_path: Path, artifact_path: Path) -> None:
    new = tmp_path / "new"
    for run, other, fault in (
        (tmp_path, runs[0], "no run folder"),
        (artifact_path, runs[0], "no run folder"),
        (runs[0], tmp_path, "no run folder"),
        (runs[0], artifact_path, "name its float twin"),
    ):
        assert fault in invoke("average", run, other, "--data", data, "--out", new, code=2)
    assert not new.exists()
