"""Artifacts for other programs, by those programs' own readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from wsinfer_zoo.client import ModelConfiguration, validate_config_json

from model_zoo.artifact import parse
from model_zoo.network import probability
from model_zoo.synthetic import synthetic_patch
from tests.conftest import shipped_artifact
from tests.installed import in_process
from training.hub import hub_folder
from training.score import Scorer


@pytest.mark.filterwarnings("ignore:.torch.jit.[a-z_]+. is deprecated:DeprecationWarning")
def test_wsinfer_gives_the_calibrated_probability(tmp_path: Path) -> None:
    done = in_process("export", "wsinfer", shipped_artifact("fp32"), "--out", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert done.output.count("Wrote") == 3
    graph, manifest = parse(shipped_artifact("fp32").read_bytes())
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    validate_config_json(described)
    found = ModelConfiguration.from_dict(described)
    assert (found.patch_size_pixels, found.spacing_um_px) == (96, manifest.input.microns_per_pixel)
    assert [transform.name for transform in found.transform] == ["Resize", "ToTensor"]
    assert ModelCard.load(tmp_path / "model" / "README.md").data.license == "apache-2.0"

    patches = np.stack([synthetic_patch(kind, seed) for seed in range(4) for kind in ("tumour", "normal", "blank")])
    module = torch.jit.load(str(tmp_path / "model" / "torchscript_model.pt"))
    with torch.no_grad():
        scaled = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255  # as ToTensor does
        probabilities = torch.softmax(module(scaled), dim=1)[:, 1].numpy()
    expected = probability(Scorer(graph).logits(patches), manifest.calibration.temperature)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_only_float_artifacts_are_exported(tmp_path: Path) -> None:
    refused = in_process("export", "wsinfer", shipped_artifact(), "--out", tmp_path / "model")
    assert refused.exit_code == 1
    assert "name its float twin" in refused.output
    assert not (tmp_path / "model").exists()


def test_two_joined_networks_are_not_exported(tmp_path: Path) -> None:
    refused = in_process("export", "wsinfer", shipped_artifact("fp32", "accurate"), "--out", tmp_path / "model")
    assert refused.exit_code == 1
    assert "is of the family joined: only a mobilenetv2 can be recovered" in " ".join(refused.output.split())
    assert not (tmp_path / "model").exists()


def test_the_hub_reads_the_card_and_both_files_are_there(tmp_path: Path) -> None:
    int8, fp32 = shipped_artifact(), shipped_artifact("fp32")
    card = int8.with_name(int8.name.replace(".int8.onnx", ".md"))
    written = hub_folder(int8, fp32, card, tmp_path / "hub")
    assert {file.name for file in (tmp_path / "hub").iterdir()} == {int8.name, fp32.name, "README.md"}
    assert (tmp_path / "hub" / int8.name).read_bytes() == int8.read_bytes()
    read = ModelCard.load(written)
    assert (read.data.library_name, read.data.pipeline_tag) == ("onnx", "image-classification")
    figures = {result.metric_name: result.metric_value for result in read.data.eval_results}
    manifest = parse(int8.read_bytes())[1]
    accuracy = next(m for m in manifest.metrics if (m.split, m.name, m.basis) == ("test", "accuracy", "orbit"))
    assert abs(figures["accuracy, test, basis orbit"] - accuracy.value) < 1e-5
    assert read.text.strip() == card.read_text(encoding="utf-8").strip()
