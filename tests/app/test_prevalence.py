"""The probability at the site's prevalence is stated beside the raw one and does not affect the decision."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer import Typer
from typer.testing import CliRunner

from app.commands.predict import predict
from app.settings import Settings
from model_zoo.decision import at_prevalence
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded

PNG = {"Content-Type": "image/png"}


def test_a_shift_is_bayes_rule() -> None:
    """80 of 500 positive patches and 20 of 500 others lie in a bin: of 100 and 900 it would be 16 and 36."""
    assert at_prevalence(0.8, 0.1, 0.5) == pytest.approx(16 / 52, rel=1e-12)


@pytest.mark.parametrize("probability", [1e-300, 1e-9, 0.25, 0.5, 0.9, 1 - 1e-12])
def test_a_shift_comes_back_and_none_changes_nothing(probability: float) -> None:
    assert at_prevalence(probability, 0.489, 0.489) == pytest.approx(probability, rel=1e-9)
    assert at_prevalence(at_prevalence(probability, 0.02, 0.5), 0.5, 0.02) == pytest.approx(probability, rel=1e-9)
    assert at_prevalence(probability, 0.02, 0.5) < probability < at_prevalence(probability, 0.7, 0.5)


@pytest.mark.parametrize("site", [5e-324, 1e-9, 0.5, 1 - 1e-16])
@pytest.mark.parametrize("calibration", [5e-324, 0.5, 1 - 1e-16])
def test_extremes_stay_probabilities(site: float, calibration: float) -> None:
    assert [at_prevalence(end, site, calibration) for end in (0.0, 1.0)] == [0.0, 1.0]
    for probability in (5e-324, 0.5, 1 - 1e-16):
        assert 0.0 <= at_prevalence(probability, site, calibration) <= 1.0


@pytest.mark.parametrize("value", ["0", "1", "-0.1", "2", "nan", "inf", "rare"])
def test_what_is_no_prevalence_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ROSETTE_PREVALENCE", value)
    with pytest.raises(ValidationError, match="prevalence"):
        Settings()


def test_an_answer_states_both_and_decides_by_the_raw_one(
    tmp_path: Path, artifact_path: Path, server: RunningServer, network: Network, png: bytes
) -> None:
    raw = server.client.post("/predict", content=png, headers=PNG).json()
    assert (raw["probability_at_prevalence"], raw["prevalence"]) == (None, None)
    with RunningServer(tmp_path, artifact_path, prevalence=0.01) as running:
        response = running.client.post("/predict", content=png, headers=PNG)
        answer = response.json()
        assert running.client.get(f"/predictions/{answer['id']}").content == response.content
        glass = encoded(synthetic_patch("blank", 0))
        refused = running.client.post("/predict", content=glass, headers=PNG).json()
    for part in ("label", "probability", "decision", "reasons", "logits", "consistency"):
        assert answer[part] == raw[part]
    assert answer["prevalence"] == 0.01
    before, after = answer["probability"], answer["probability_at_prevalence"]
    calibration = network.manifest.calibration.prevalence
    shift = log(0.01 / 0.99) - log(calibration / (1 - calibration))
    assert log(after / (1 - after)) - log(before / (1 - before)) == pytest.approx(shift)
    assert refused["decision"] == "not_assessable"
    assert (refused["probability_at_prevalence"], refused["prevalence"]) == (None, None)


def test_the_command_states_it_too(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    (tmp_path / "patch.png").write_bytes(png)
    application = Typer()
    application.command()(predict)
    arguments = [str(tmp_path / "patch.png"), "--model", str(artifact_path), "--json"]
    done = CliRunner().invoke(application, arguments, env={"ROSETTE_PREVALENCE": "0.2"})
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["prevalence"] == 0.2
    assert 0 < answer["probability_at_prevalence"] < answer["probability"]
