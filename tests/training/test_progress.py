"""A training says how far it is, draws its curve, writes TensorBoard's log, and advertises nothing."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from tests.installed import in_process as rosette
from tests.training.test_fit import QUIET, TOPOLOGY
from tests.training.tiny import LIGHTNING_WARNINGS, tiny_dense
from training.fit import Material, fit
from training.messages import duration
from training.progress import MLFLOW, Progress, loggers, without_noise
from training.recipe import Recipe
from training.transfer import taken

pytestmark = LIGHTNING_WARNINGS


def scalars(folder: Path) -> dict[str, int]:
    """How often each figure stands in TensorBoard's log."""
    counts: dict[str, int] = {}
    for file in folder.glob("events.out.tfevents.*"):
        rest = file.read_bytes()
        while rest:
            (length,) = struct.unpack_from("<Q", rest)
            for value in Event.FromString(rest[12 : 12 + length]).summary.value:
                counts[value.tag] = counts.get(value.tag, 0) + 1
            rest = rest[16 + length :]
    return counts


def test_a_run_shows_its_progress(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MLFLOW, raising=False)
    said: list[str] = []
    log, handler = logging.getLogger("lightning.pytorch.utilities.rank_zero"), logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr("training.progress.FIRST_ESTIMATE_S", 0.0)
    filters = log.filters.copy()
    log.addHandler(handler)
    without_noise()
    recipe = Recipe(epochs=2, batch_size=8, precision="32-true")
    fit(
        Material.load(data),
        tmp_path,
        TOPOLOGY,
        recipe,
        loggers=loggers(tmp_path),
        followers=[Progress(tmp_path)],
        **QUIET,
    )
    log.removeHandler(handler)
    log.filters = filters
    assert said
    assert not [line for line in said if "Tip" in line]
    lines = capfd.readouterr().err.splitlines()
    [begin] = [line for line in lines if line.startswith("Training ")]
    assert "for 2 epochs of 6 steps, in 32-true, from epoch 1." in begin
    assert len([line for line in lines if " s a step: about " in line]) == 1
    first, last = [line for line in lines if line.startswith("Epoch ")]
    assert first.startswith("Epoch 1 of 2: loss ")
    assert first.endswith(" left.")
    assert last.endswith("; finished.")
    with Image.open(tmp_path / "learning_curve.png") as picture:
        assert picture.size == (960, 408)
        assert len(picture.convert("RGB").getcolors(2**20) or ()) > 50  # lines, not an empty page
    assert not list(tmp_path.glob("*.part.*"))
    figures = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
    assert scalars(tmp_path / "tensorboard").items() >= dict.fromkeys(figures, 2).items()


def test_mlflow_that_is_not_installed_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("mlflow") is not None:
        pytest.skip("MLflow is installed")
    monkeypatch.setenv(MLFLOW, (tmp_path / "mlruns").as_uri())
    refused = rosette("train", tmp_path / "run", "--data", data)
    assert refused.exit_code == 2
    assert "pip install mlflow-skinny" in refused.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (95, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_start_of_another_depth_says_what_it_takes() -> None:
    deep = tiny_dense("C4", "inner")
    shallow = replace(deep, stages=tuple((*stage[:2], 1, stage[3]) for stage in deep.stages))
    assert taken(deep, deep).startswith("All its weights are taken")
    assert "stage 1: 1 of 1; stage 2: 1 of 1; stage 3: 1 of 3" in taken(deep, shallow)
