"""Float networks side by side: figures of runs and artifacts are those of their answers, and differences are paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model_zoo.cli import application
from tests.training.test_averaging import write_run
from tests.training.tiny import settled_network, tiny_topology
from training.batchnorm import adapt
from training.data import Patches, halves_of_valid, load
from training.metrics import auc
from training.mobilenetv2 import MobileNetV2
from training.study.consistency import section
from training.study.report import write
from training.study.results import read
from training.study.stability import DIRECTIONS, jpeg_on_shifted_grid, shift
from training.teachers import logit_difference


@pytest.fixture(scope="module")
def network(data: Path) -> MobileNetV2:
    return settled_network(tiny_topology("C4"), load(data, "train").images[:16])


@pytest.fixture(scope="module")
def results(network: MobileNetV2, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results, by the command, of a run with and without batch norm estimated again."""
    folder = tmp_path_factory.mktemp("consistency")
    run = write_run(folder / "steady", network, load(data, "train").sha256)
    words = ["study", "consistency", run, "--data", data, "--norm-patches", "40", "--out", folder / "results"]
    done = invoke(words)
    assert done.exit_code == 0, done.output
    return folder / "results"


def invoke(words: list[Any]) -> Any:
    arguments = [str(word) for word in words]
    return CliRunner().invoke(application(arguments), arguments, terminal_width=200)


def test_figures_are_those_of_the_answers(results: Path, network: MobileNetV2, data: Path) -> None:
    document: Any = read(results, "consistency")
    valid, train = load(data, "valid"), load(data, "train")
    drawn = np.random.default_rng(0).permutation(len(train))[:40]
    again = settled_network(tiny_topology("C4"), train.images[:16])
    again.load_state_dict(network.state_dict())
    for row, measured in zip(document["rows"], (network, adapt(again, train.images[drawn])), strict=True):
        assert isinstance(measured, MobileNetV2)
        before, shifted, encoded = margins(measured, halves_of_valid(valid)[0])
        difference = logit_difference(measured, valid.images)
        figures = {name: each["value"] for name, each in row["figures"].items()}
        assert figures["auc"] == pytest.approx(auc(difference.astype(np.float64), valid.labels))
        assert figures["accuracy"] == pytest.approx(((difference >= 0) == (valid.labels == 1)).mean())
        assert figures["flipped"] == pytest.approx(((shifted >= 0) != (before >= 0)).mean())
        assert figures["jpeg"] == pytest.approx(np.abs(expit(encoded) - expit(before)).mean(), rel=1e-4)
    assert [row["norm_patches"] for row in document["rows"]] == [0, 40]
    assert document["data_sha256"] == {"train": train.sha256, "valid": valid.sha256}


def margins(network: MobileNetV2, patches: Patches) -> tuple[Any, Any, Any]:
    """Differences of logits as given, shifted by 1 px in four directions, and re-encoded on another grid."""
    moved = [np.stack([shift(image, *by) for image in patches.images]) for by in DIRECTIONS]
    encoded = np.stack([jpeg_on_shifted_grid(image) for image in patches.images])
    shifted = np.stack([logit_difference(network, images) for images in moved])
    return logit_difference(network, patches.images), shifted, logit_difference(network, encoded)


def expit(margin: Any) -> Any:
    return 1 / (1 + np.exp(-margin))


def test_differences_are_to_the_first(results: Path) -> None:
    document: Any = read(results, "consistency")
    first, second = document["rows"]
    for name, interval in second["to_first"].items():
        change = second["figures"][name]["value"] - first["figures"][name]["value"]
        assert interval["value"] == pytest.approx(change, abs=1e-12)
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert first["to_first"][name]["value"] == 0


def test_the_report_shows_both_tables(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write(results, page)
    text = page.read_text(encoding="utf-8")
    assert "## Consistency and batch norm" in text
    assert "| steady | 30 epochs, consistency 0 |" in text
    assert "| steady, batch norm | 30 epochs, consistency 0; batch norm estimated again on 40 patches |" in text
    assert "**Differences** to steady, paired" in text
    document: Any = read(results, "consistency")
    assert "**Differences**" not in "\n".join(section(document | {"rows": document["rows"][:1]}))


def test_what_is_no_float_network_is_refused(
    data: Path, tmp_path: Path, artifact_path: Path, float_artifact_path: Path
) -> None:
    for networks, fault in (
        ([artifact_path], "name its float twin"),
        ([tmp_path], "is no run folder"),
        ([float_artifact_path, float_artifact_path], "two networks have the same name"),
    ):
        done = invoke(["study", "consistency", *networks, "--data", data, "--out", tmp_path / "results"])
        assert done.exit_code == 2
        assert fault in done.output
    assert not (tmp_path / "results").exists()
