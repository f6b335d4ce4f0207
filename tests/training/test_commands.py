"""The commands of training, from patches to a verified artifact and its figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from model_zoo.artifact import parse, write
from model_zoo.verify import verify
from tests.installed import in_process as rosette
from tests.training.tiny import LIGHTNING_WARNINGS
from training.data import halves_of_valid, load
from training.recipe import Recipe, Run
from training.topologies import TOPOLOGIES

pytestmark = LIGHTNING_WARNINGS


def succeeds(*arguments: str | Path) -> str:
    result = rosette(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def line(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | Path]:
    """Train, quantize, publish and evaluate, once: what each said, the run and the folder of artifacts."""
    folder = tmp_path_factory.mktemp("line")
    run, out = folder / "run", folder / "zoo" / "new"
    train = succeeds("train", run, "--data", data, "--topology", "fast", "--epochs", "1", "--batch-size", "8")
    quantize = succeeds("quantize", run, "--data", data, "--probes", "8")
    names = "--name", "c12-test", "--version", "0.1.2", "--out", out
    publish = succeeds("publish", run, "--data", data, *names)
    figures = folder / "figures.json"
    evaluate = succeeds("evaluate", out / "c12-test-0.1.2.int8.onnx", "--data", data, "--json", figures)
    said = {"train": train, "quantize": quantize, "publish": publish, "evaluate": evaluate}
    return {**said, "run": run, "out": out, "figures": figures}


def test_train_writes_the_run(line: dict[str, Path], data: Path) -> None:
    run = Run.read(line["run"])
    assert run.topology == TOPOLOGIES["fast"]
    assert run.recipe == Recipe(epochs=1, batch_size=8, norm_patches=3200)
    assert run.data_sha256 == load(data, "train").sha256
    assert f"Next: rosette quantize {line['run']}" in str(line["train"])


def test_quantize_says_what_each_step_changed(line: dict[str, Path]) -> None:
    figures = json.loads((line["run"] / "quantization.json").read_text())
    assert figures["patches"] == 8
    assert 0 < figures["equalized_delta_float32"] < 1e-4
    assert figures["equalized_delta_float64"] < 1e-9
    assert f"absorbed fields: {figures['absorbed_fields']}" in str(line["quantize"])


@pytest.mark.parametrize("suffix", ["int8", "fp32"])
def test_published_artifacts_pass_verification(line: dict[str, Path], data: Path, suffix: str) -> None:
    content = (line["out"] / f"c12-test-0.1.2.{suffix}.onnx").read_bytes()
    report = verify(content)
    assert [f"{step.name}: {step.detail}" for step in report.steps if not step.passed] == []
    _, manifest = parse(content)
    assert manifest.group.name == "C12"
    assert manifest.exact_subgroup == "C4"
    assert manifest.precision == {"int8": "int8", "fp32": "float32"}[suffix]
    assert manifest.training_data.patches == 48
    calibrating = halves_of_valid(load(data, "valid"))[1]
    assert manifest.calibration.prevalence == calibrating.labels.mean()
    splits = {(metric.split, metric.n) for metric in manifest.metrics}
    assert splits == {("valid", 48), ("valid, calibrating half", len(calibrating))}
    assert [(each.split, each.basis, each.n) for each in manifest.curves] == [
        ("valid", "orbit", 48),
        ("valid, calibrating half", "orbit", len(calibrating)),
    ]
    for curves in manifest.curves:
        assert (curves.roc[0], curves.roc[-1]) == ((0, 0), (1, 1))
        assert sum(each.n for each in curves.reliability) == curves.n
        sensitivity = next(
            metric.value
            for metric in manifest.metrics
            if (metric.name, metric.split, metric.basis) == ("sensitivity", curves.split, "orbit")
        )
        assert curves.operating_point[1] == pytest.approx(sensitivity, abs=1e-4)
    said = str(line["publish"])
    assert "AUC, all turns, on valid is " in said
    assert "Warning: Worse than accurate" in said, "48 patches teach little"


@pytest.mark.parametrize("suffix", ["int8", "fp32"])
def test_an_older_artifact_gets_the_reference_that_publish_writes(
    line: dict[str, Path], data: Path, tmp_path: Path, suffix: str
) -> None:
    graph, published = parse((line["out"] / f"c12-test-0.1.2.{suffix}.onnx").read_bytes())
    assert published.reference is not None
    older = tmp_path / "older.onnx"
    older.write_bytes(write(graph, published.model_copy(update={"reference": None})))
    said = succeeds("reference", older, "--data", data, "--version", "0.1.3", "--out", tmp_path)
    written = tmp_path / f"c12-test-0.1.3.{suffix}.onnx"
    assert said == f"Wrote {written}\n"
    assert parse(written.read_bytes())[1] == published.model_copy(update={"version": "0.1.3"})


def test_a_reference_needs_the_data_that_calibrated(line: dict[str, Path], data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(data / "train-00000-of-00002.parquet", other / "valid.parquet")
    artifact = line["out"] / "c12-test-0.1.2.int8.onnx"
    result = rosette("reference", artifact, "--data", other, "--version", "0.1.3", "--out", tmp_path)
    assert result.exit_code == 1
    assert "is not what c12-test 0.1.2 was calibrated on" in result.output
    assert not list(tmp_path.glob("*.onnx"))


def test_the_card_shows_figures_and_learning_curve(line: dict[str, Path]) -> None:
    card = (line["out"] / "c12-test-0.1.2.md").read_text()
    _, manifest = parse((line["out"] / "c12-test-0.1.2.int8.onnx").read_bytes())
    auc = next(metric for metric in manifest.metrics if metric.name == "auc")
    assert f"| valid | auc | 48 | {auc.value:.4f} [{auc.low:.4f}, {auc.high:.4f}] |" in card
    assert "| epoch | train loss | train accuracy | valid loss | valid accuracy |" in card
    curve = card.splitlines()[-1]
    assert curve.startswith("| 1 | ")
    assert curve.count("|") == 6
    assert "Research use only" in card


def test_evaluate_measures_what_publish_measured(line: dict[str, Path]) -> None:
    _, manifest = parse((line["out"] / "c12-test-0.1.2.int8.onnx").read_bytes())
    document = json.loads(line["figures"].read_text())
    expected = {(m.name, m.basis): m.value for m in manifest.metrics if m.split == "valid"}
    assert {(m["name"], m["basis"]): m["value"] for m in document["metrics"]} == pytest.approx(expected)
    assert expected.keys() >= {("auc", "single"), ("auc", "orbit"), ("accuracy_as_served", "orbit")}
    assert document["exactness"] == {"subgroup": "C4", "patches": 48, "equal": 48, "largest_delta": 0.0}
    assert "C4: 48 of 48 patches give equal bits for every turn" in str(line["evaluate"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topology", "huge"], "'huge' is not one of mobilenetv2, balanced, fast"),
        (["--group", "E4"], "group 'E4' is not C or D followed by 1 to 99"),
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--batch-size", "1"], "Invalid value for '--batch-size'"),
        (["--free-filters"], "free filters need a subgroup of D4, not C12"),
        (["--learning-rate", "fast"], "Invalid value for '--learning-rate'"),
    ],
)
def test_train_refuses_bad_arguments(data: Path, tmp_path: Path, options: list[str], message: str) -> None:
    assert_refused(
        rosette("train", tmp_path / "run", "--data", data, "--topology", "fast", "--batch-size", "8", *options), message
    )


def assert_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_train_refuses_another_run_in_the_folder(line: dict[str, Path], data: Path) -> None:
    result = rosette("train", line["run"], "--data", data, "--topology", "fast", "--epochs", "1", "--seed", "1")
    assert_refused(result, "holds a run with other settings or data; name another folder or delete it")


@pytest.mark.parametrize("command", ["train", "quantize"])
def test_a_folder_without_data_is_refused(line: dict[str, Path], tmp_path: Path, command: str) -> None:
    split = {"train": "train", "quantize": "valid"}[command]
    assert_refused(rosette(command, line["run"], "--data", tmp_path), f"holds no '{split}' split")


def test_quantize_refuses_a_folder_without_a_run(data: Path, tmp_path: Path) -> None:
    assert_refused(rosette("quantize", tmp_path, "--data", data), "run.json")


def test_evaluate_refuses_bad_arguments(line: dict[str, Path], data: Path, tmp_path: Path) -> None:
    artifact = line["out"] / "c12-test-0.1.2.int8.onnx"
    assert_refused(rosette("evaluate", artifact, "--data", data, "--split", "all"), "'all' is not one of train, valid")
    assert_refused(rosette("evaluate", tmp_path / "none.onnx", "--data", data), "does not exist")
    assert_refused(rosette("evaluate", artifact, "--data", data, "--split", "test"), "holds no 'test' split")


@pytest.mark.parametrize(("name", "version"), [("C12", "0.1.0"), ("c12", "0.1"), ("c12", "v0.1.0")])
def test_publish_refuses_bad_names_and_versions(
    line: dict[str, Path], data: Path, tmp_path: Path, name: str, version: str
) -> None:
    result = rosette("publish", line["run"], "--data", data, "--name", name, "--version", version, "--out", tmp_path)
    assert_refused(result, "should match pattern")
    assert list(tmp_path.iterdir()) == []


def test_publish_refuses_a_run_that_was_not_quantized(data: Path, tmp_path: Path) -> None:
    result = rosette("publish", tmp_path, "--data", data, "--name", "c12", "--version", "0.1.0", "--out", tmp_path)
    assert result.exit_code == 1
    assert "int8.onnx" in result.output
