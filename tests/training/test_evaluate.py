"""Figures are within their range, and invalid measurements are errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_zoo import classification
from model_zoo.artifact import ArtifactError, graph_sha256, parse, write
from model_zoo.manifest import Metric
from tests.training.tiny import synthetic_patches
from training.data import DataError, Patches
from training.evaluate import EvaluationError, evaluate, opened
from training.metrics import measure


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "RESAMPLES", 60)


def assert_within_range(figures: tuple[Metric, ...]) -> None:
    for figure in figures:
        assert all(math.isfinite(value) for value in (figure.low, figure.value, figure.high)), figure
        assert 0 <= figure.low <= figure.value <= figure.high <= 1, figure


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["wrong", "right", "constant", "noise", "edges"])
def test_every_figure_of_few_patches_is_within_its_range(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(16 + seed) % 2)
    wrong, noise = 1.0 - labels, rng.random(len(labels))
    probability = {
        "wrong": wrong,
        "right": labels.astype(float),
        "constant": np.full(len(labels), 0.97),
        "noise": noise,
        "edges": np.where(noise < 0.3, wrong, noise),
    }[kind]
    assert_within_range(measure(probability, labels, 0.5, "test"))


@pytest.mark.usefixtures("few_resamples")
def test_a_shipped_artifact_is_measured(artifact_path: Path) -> None:
    evaluation = evaluate(opened(artifact_path), synthetic_patches(16), "valid")
    assert_within_range(evaluation.metrics)
    assert evaluation.exactness.equal == 16


def test_too_few_of_a_label_are_refused(artifact_path: Path) -> None:
    patches = synthetic_patches(32)
    for positive in (0, 7):
        labels = (np.arange(32) < positive).astype(np.int64)
        with pytest.raises(
            DataError, match=rf"{32 - positive} have label 0 and {positive} label 1; .* at least 8 of each"
        ):
            evaluate(opened(artifact_path), Patches(patches.images, labels, "few.parquet: 32 patches"), "test")


def test_patches_that_count_twice_are_refused(artifact_path: Path) -> None:
    patches = synthetic_patches(32)[np.arange(33) % 32]
    with pytest.raises(DataError, match=r"row 0 and .*row 32 hold the same pixels \(1 duplicates in test\)"):
        evaluate(opened(artifact_path), patches, "test")


def test_an_artifact_that_answers_nan_is_an_error(float_artifact_path: Path, tmp_path: Path) -> None:
    graph, manifest = parse(float_artifact_path.read_bytes())
    bias = next(i for i in reversed(graph.graph.initializer) if i.data_type == onnx.TensorProto.FLOAT and i.dims == [2])
    bias.CopyFrom(numpy_helper.from_array(np.full(2, np.nan, np.float32), bias.name))
    file = tmp_path / "nan.onnx"
    file.write_bytes(write(graph, manifest.model_copy(update={"graph_sha256": graph_sha256(graph)})))
    with pytest.raises(EvaluationError, match=r"answers synthetic, row 0 with logits that are not finite"):
        evaluate(opened(file), synthetic_patches(16), "valid")


def test_files_that_are_no_artifact_are_refused(artifact_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.onnx"
    file.write_bytes(artifact_path.read_bytes()[:1000])
    with pytest.raises(ArtifactError):
        opened(file)
