"""Two joined networks: the mean of their logits, quantized into one graph of integers; bad input writes nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from model_zoo.cli import application
from model_zoo.dense_proof import optimized
from model_zoo.independence import check_independence
from model_zoo.integers import check_integer_graph, check_weights
from model_zoo.shapes import check_shapes
from model_zoo.turns import Patch
from tests.training.test_averaging import write_run
from tests.training.tiny import as_input, settled_network, tiny_topology
from training.averaging import average
from training.batchnorm import adapt
from training.checkpoints import CheckpointError
from training.data import Patches, halves_of_valid, load
from training.densenet import NormActConv, P4MDenseNet
from training.evaluate import EvaluationError, opened
from training.joining import join
from training.publish import PUBLIC_P4M, card
from training.quantize.joined import quantize_joined
from training.quantize.pipeline import Graphs, QuantizationError
from training.quantize.run import quantize_run
from training.quantize.scheme import Scheme
from training.recipe import Recipe, Run
from training.score import Scorer
from training.topology import P4M
from training.weights import joined_networks

FEW = 4
STARTED_FROM = "5" * 64


def random_densenet(images: Patch) -> P4MDenseNet:
    """A network with random weights, and batch norms that have seen these patches and differ from field to field."""
    torch.manual_seed(3)
    network = P4MDenseNet()
    for module in network.modules():
        if isinstance(module, NormActConv):
            nn.init.uniform_(module.norm.weight, 0.5, 1.5)
            nn.init.normal_(module.norm.bias, std=0.3)
    dense = network.dense[1]
    assert isinstance(dense, NormActConv)
    with torch.no_grad():
        dense.convolution.weight[0] *= 1e-40  # as weight decay leaves fields that nothing reads
    network.mean.fill_(0.6)
    network.std.fill_(0.2)
    adapt(network, images)
    return network.eval()


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder)
    return folder


@pytest.fixture(scope="module")
def splits(data: Path) -> tuple[Patches, Patches]:
    train, valid = load(data, "train"), load(data, "valid")
    return train[np.arange(32)], valid


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, splits: tuple[Patches, Patches]) -> tuple[Path, Path]:
    """The run of a MobileNetV2 of the group C12, and that of a P4M-DenseNet."""
    folder, (train, _) = tmp_path_factory.mktemp("runs"), splits
    first = write_run(folder / "first", settled_network(tiny_topology("C12"), train.images[:16], 1), train.sha256)
    second = folder / "second"
    Run(P4M, Recipe(stain_jitter=0.3, start_sha256=STARTED_FROM), "synthetic", train.sha256).write(second)
    weights = {f"network.{name}": value for name, value in random_densenet(train.images[:8]).state_dict().items()}
    torch.save({"state_dict": weights}, second / "best.ckpt")
    return first, second


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, runs: tuple[Path, Path], splits: tuple[Patches, Patches]) -> Path:
    folder = tmp_path_factory.mktemp("joined") / "run"
    join(*runs, folder, *splits, weight=0.5)
    return folder


@pytest.fixture(scope="module")
def pair(joined: Path, splits: tuple[Patches, Patches]) -> Graphs:
    made = Run.read(joined).joined
    assert made is not None
    return quantize_joined(*joined_networks(joined), made.factor, splits[1].images[:FEW])


@torch.no_grad()
def test_both_networks_count_as_asked(joined: Path, runs: tuple[Path, Path], splits: tuple[Patches, Patches]) -> None:
    made = Run.read(joined).joined
    assert made is not None
    images = as_input(halves_of_valid(splits[1])[0].images)
    answers = [network(images) for network in joined_networks(joined)]
    spread = [float((each[:, 1] - each[:, 0]).numpy().std()) for each in answers]
    assert made.factor * spread[1] == pytest.approx(0.5 * spread[0], rel=1e-3)
    assert (joined / "best.ckpt").read_bytes() == (runs[0] / "best.ckpt").read_bytes()


@torch.no_grad()
def test_the_float_graph_is_the_mean_and_the_int8_graph_is_near(
    joined: Path, pair: Graphs, splits: tuple[Patches, Patches]
) -> None:
    made = Run.read(joined).joined
    assert made is not None
    images = splits[1].images[:16]
    first, second = (network(as_input(images)).numpy() for network in joined_networks(joined))
    expected = (first + made.factor * second) / 2
    answers = [Scorer(graph).logits(images) for graph in (pair.float32, pair.int8)]
    assert np.abs(answers[0] - expected).max() < 1e-4
    int8, exact = (logits[:, 1] - logits[:, 0] for logits in (answers[1], expected))
    assert np.corrcoef(int8, exact)[0, 1] > 0.8


def test_the_int8_graph_has_integers_only_and_equal_bits_under_exact_turns(
    pair: Graphs, splits: tuple[Patches, Patches]
) -> None:
    check_shapes(pair.int8)
    check_independence(pair.int8)
    check_weights(pair.int8)
    assert "QLinearConv" in check_integer_graph(optimized(pair.int8.SerializeToString()))
    scorer, images = Scorer(pair.int8), splits[1].images[:8]
    given = scorer.logits(images)
    assert np.ptp(given, axis=0).min() > 0
    for quarters in range(1, 4):
        assert np.array_equal(scorer.logits(np.rot90(images, quarters, (1, 2))), given)


def test_a_card_says_how_the_second_network_was_fitted(
    joined: Path, artifact_path: Path, float_artifact_path: Path
) -> None:
    made = Run.read(joined).joined
    assert made is not None
    assert made.origin == f"second, fitted from the weights with SHA-256 {STARTED_FROM}"
    assert replace(made, recipe=None).origin == "second, which was trained elsewhere"
    assert "- `second` was fitted with epochs 30; " in card(joined, artifact_path, float_artifact_path)
    assert "stain jitter 0.3; " in card(joined, artifact_path, float_artifact_path)


def test_a_joined_run_is_quantized_and_described(joined: Path, splits: tuple[Patches, Patches]) -> None:
    for scheme in (Scheme(), Scheme(absorb=False, field_scales=False)):
        with pytest.raises(ValueError, match="give --no-absorb"):
            quantize_run(joined, splits[1].images[:FEW], scheme)
    quantize_run(joined, splits[1].images[:FEW], Scheme(absorb=False))
    assert {node.op_type for node in onnx.load(joined / "int8.onnx").graph.node} >= {"Concat", "Slice"}


@pytest.mark.parametrize(
    ("swap", "said"),
    [
        ("second first", "a run of a p4m-densenet"),
        ("first first", "is no P4M-DenseNet"),
        ("joined second", "holds two networks already"),
    ],
)
def test_networks_of_the_wrong_kind_are_refused(
    swap: str, said: str, runs: tuple[Path, Path], joined: Path, splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    named = {"first": runs[0], "second": runs[1], "joined": joined}
    first, second = (named[name] for name in swap.split())
    with pytest.raises(ValueError, match=said):
        join(first, second, tmp_path / "new", *splits, weight=1)
    assert not (tmp_path / "new").exists()


def test_other_training_data_and_existing_folders_are_refused(
    runs: tuple[Path, Path], splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    other = splits[0][np.arange(16)]
    with pytest.raises(ValueError, match="was trained on other data"):
        join(*runs, tmp_path / "new", other, splits[1], weight=1)
    with pytest.raises(ValueError, match="exists already"):
        join(*runs, tmp_path, *splits, weight=1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_positive_number_is_refused(
    weight: float, runs: tuple[Path, Path], splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="must be a positive number"):
        join(*runs, tmp_path / "new", *splits, weight=weight)
    assert not any(tmp_path.iterdir())


def test_a_network_that_answers_alike_to_all_patches_is_refused(
    runs: tuple[Path, Path], splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    constant = copied(runs[1], tmp_path / "constant")
    checkpoint = torch.load(constant / "best.ckpt")
    checkpoint["state_dict"]["network.head.convolution.weight"].zero_()
    torch.save(checkpoint, constant / "best.ckpt")
    with pytest.raises(ValueError, match="constant answers alike to all"):
        join(runs[0], constant, tmp_path / "new", *splits, weight=1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("changed", [0, 1])
def test_weights_of_another_network_are_refused(
    changed: int, runs: tuple[Path, Path], splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    named = list(runs)
    named[changed] = copied(runs[changed], tmp_path / "swapped")
    shutil.copy(runs[1 - changed] / "best.ckpt", named[changed] / "best.ckpt")
    with pytest.raises(CheckpointError, match="holds the weights of another network"):
        join(named[0], named[1], tmp_path / "new", *splits, weight=1)
    assert not (tmp_path / "new").exists()


def test_a_card_names_the_notice_for_the_public_weights_alone(
    joined: Path, tmp_path: Path, artifact_path: Path, float_artifact_path: Path
) -> None:
    run = copied(joined, tmp_path / "run")
    settings = Run.read(run)
    made = settings.joined
    assert made is not None
    of_others = replace(made, recipe=None)
    for told, named in [
        (made, False),
        (of_others, False),
        (replace(of_others, sha256=PUBLIC_P4M), True),
        (replace(made, recipe=Recipe(start_sha256=PUBLIC_P4M)), True),
    ]:
        replace(settings, joined=told).write(run)
        assert ("NOTICE.md" in card(run, artifact_path, float_artifact_path)) == named


def test_a_network_that_integers_would_leave_out_is_refused(joined: Path, splits: tuple[Patches, Patches]) -> None:
    first, second = joined_networks(joined)
    for factor in (1e-4, 1e4):
        with pytest.raises(QuantizationError, match="join the networks again with a --weight nearer to 1"):
            quantize_joined(first, second, factor, splits[1].images[:FEW])


@pytest.mark.parametrize("name", ["best.ckpt", "second.ckpt"])
def test_damaged_weights_of_a_joined_run_are_named(
    name: str, joined: Path, tmp_path: Path, splits: tuple[Patches, Patches]
) -> None:
    run = copied(joined, tmp_path / "run")
    (run / name).write_bytes((run / name).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"{name} is truncated or damaged"):
        quantize_run(run, splits[1].images[:FEW], Scheme(absorb=False))


def test_a_joined_run_is_not_taken_for_its_first_network(
    joined: Path, splits: tuple[Patches, Patches], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds two networks: name the run of one of them"):
        average(joined, None, tmp_path / "new", splits[0], weight=0, norm_patches=8)
    with pytest.raises(EvaluationError, match="holds two networks"):
        opened(joined)


@pytest.mark.parametrize(("second", "out", "said"), [(0, "new", "is no P4M-DenseNet"), (1, "file/new", "File exists")])
def test_the_command_says_what_is_wrong(
    second: int, out: str, said: str, runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    named = [copied(run, tmp_path / run.name) for run in runs]
    for run in named:
        replace(Run.read(run), data_sha256=load(data, "train").sha256).write(run)
    (tmp_path / "file").write_text("")
    arguments = ["join", str(named[0]), str(named[second]), "--data", str(data), "--out", str(tmp_path / out)]
    result = CliRunner().invoke(application(arguments), arguments)
    assert result.exit_code == 2, result.output
    assert "rosette join: " in result.stderr
    assert said in result.stderr
    assert not (tmp_path / "new").exists()
