"""The ablation with tiny networks, quantized with all 24 variants."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import JsonValue

from model_zoo.artifact import graph_sha256
from model_zoo.symmetry import Group
from model_zoo.turns import turn
from tests.training.tiny import as_input, settled_network, synthetic_patches, tiny_topology
from training.mobilenetv2 import InvertedResidual, MobileNetV2
from training.quantize.equalize import rectified_pairs
from training.quantize.export import export_float
from training.quantize.folded import fold
from training.quantize.observed import observed_ranges
from training.quantize.pipeline import quantize
from training.quantize.ranges import data_free_ranges
from training.quantize.scheme import Scheme
from training.quantize.untied import untie
from training.score import Scorer
from training.study import ablation
from training.study.ablation_section import section
from training.study.aimet_reference import AimetError, quantize_by_onnxruntime
from training.study.ladder import CALIBRATED_STEP, DATA_FREE, LADDER, NARROW, ladder, variants
from training.study.sqnr import Ratio, activations, layer_sqnr

TRAIN, VALID = synthetic_patches(40), synthetic_patches(32, 40)


@pytest.fixture(scope="module")
def network() -> MobileNetV2:
    return settled_network(tiny_topology("C4"), TRAIN.images[:16])


@pytest.fixture(scope="module")
def document(network: MobileNetV2) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("model_zoo.classification.RESAMPLES", 20)
        return ablation.run(network, TRAIN, VALID)


def rows_of(document: Any, **settings: object) -> list[Any]:
    return [row for row in document["rows"] if all(row[key] == value for key, value in settings.items())]


def test_there_are_24_different_ways() -> None:
    assert len(set(variants())) == 24
    assert [variant.calibrated for variant in ladder()] == [False] * 5 + [True]


def test_the_default_scheme_is_one_of_them(document: Any, network: MobileNetV2) -> None:
    (row,) = rows_of(document, step=DATA_FREE.step, tied=True, bound=NARROW)
    assert row["graph_sha256"] == graph_sha256(quantize(network, VALID.images[:2]).int8)


def test_tied_rows_keep_all_bits_under_exact_turns(document: Any) -> None:
    assert [row["differing"] for row in rows_of(document, tied=True)] == [0] * 12
    assert {row["exact_change"] for row in rows_of(document, tied=True)} == {0.0}


def test_untied_rows_that_use_data_do_not(document: Any) -> None:
    for row in rows_of(document, tied=False, step=CALIBRATED_STEP):
        assert row["differing"] > 0
        assert row["exact_change"] > 0


def test_only_the_narrow_bound_is_proven(document: Any) -> None:
    assert all(row["proven"] == (row["bound"] == NARROW) for row in document["rows"])


def test_every_row_has_every_figure(document: Any) -> None:
    assert json.loads(json.dumps(document)) == document
    assert len(document["rows"]) == 24
    for row in document["rows"]:
        assert row["auc"]["low"] <= row["auc"]["value"] <= row["auc"]["high"]
        assert row["thirty_degree_change"] > 0
        assert len(row["sqnr_db"]) == 17
        assert 0 < min(row["sqnr_db"].values()) < 60
    assert set(document["gains"]["steps"]) == set(LADDER) - {"naive min-max"}


def test_an_absorption_that_finds_nothing_is_called_the_same_graph(document: Any) -> None:
    gain = document["gains"]["steps"]["+ absorption"]
    assert gain["same_graph"] == (rows_of(document, step="+ absorption", tied=True)[0]["absorbed_fields"] == 0)
    assert (gain["logit_snr_db"] == 0) == gain["same_graph"]


def test_the_section_shows_every_row_and_says_what_pays(document: Any) -> None:
    text = "\n".join(section(document))
    assert text.count("| tied |") == text.count("| untied |") == 12
    assert "12 of 12 tied rows keep all bits under exact turns." in text
    assert all(f"{step}: " in text for step in document["gains"]["steps"])
    assert "| block2.sum | " in text
    assert "`--aimet-python`" in text


def test_the_section_shows_aimet(document: Any) -> None:
    measured = {k: v for k, v in document["float"].items() if k != "graph_sha256"}
    rows: list[JsonValue] = [
        {"equalization": name, "per_channel": per_channel, "float_change": 1e-6, **measured}
        for name in ("none", "AIMET", "ours")
        for per_channel in (False, True)
    ]
    text = "\n".join(section({**document, "aimet": {"version": "2.42.0", "rows": rows}}))
    assert "AIMET 2.42.0's cross-layer equalization" in text
    assert text.count("| per channel |") == 3


def test_an_interpreter_without_aimet_is_told_of(network: MobileNetV2) -> None:
    with pytest.raises(AimetError, match=r"No module named 'aimet_onnx'; expected an environment with aimet-onnx"):
        ablation.run(network, TRAIN, VALID, Path(sys.executable))
    with pytest.raises(AimetError, match="nowhere/python cannot be run: No such file or directory"):
        ablation.run(network, TRAIN, VALID, Path("nowhere/python"))


@pytest.mark.parametrize("per_channel", [False, True])
def test_onnxruntimes_own_quantization_answers_about_the_same(network: MobileNetV2, per_channel: bool) -> None:
    plain = export_float(fold(network))
    int8 = quantize_by_onnxruntime(plain, TRAIN.images[:8], per_channel=per_channel)
    expected = Scorer(plain).logits(VALID.images)
    assert Ratio().add(expected, Scorer(int8).logits(VALID.images)).decibels > 10


@pytest.mark.parametrize("name", ["C1", "C12", "D4"])
def test_untying_does_not_change_the_function(name: str) -> None:
    folded = fold(settled_network(tiny_topology(name), TRAIN.images[:8]))
    x = as_input(VALID.images[:2]).double()
    untied = untie(folded)
    assert (untied.forward(x) - folded.forward(x)).abs().max() < 1e-5
    assert [layer.fields for layer in untied.layers()] == [
        len(folded.group) * layer.fields for layer in folded.layers()
    ]
    pairs = len(list(rectified_pairs(folded)))
    assert len(list(rectified_pairs(untied))) == (pairs if name == "C1" else pairs - 1)


def test_observed_ranges_hold_what_was_observed(network: MobileNetV2) -> None:
    folded = fold(network)
    ranges = observed_ranges(folded, TRAIN.images)
    for name, tensor in folded.tensors(as_input(TRAIN.images)):
        if name in ranges.quantizers:
            quantizer = ranges.quantizers[name]
            low, high = (quantizer.scale * (level - quantizer.zero_point) for level in (0, 255))
            assert low - quantizer.scale <= tensor.min() <= tensor.max() <= high + quantizer.scale
    data_free = data_free_ranges(folded)
    for name, means in data_free.input_means.items():
        assert ranges.input_means[name].shape == means.shape
        if name != "stem":
            torch.testing.assert_close(ranges.input_means[name], means, rtol=0.5, atol=0.3)


def test_input_means_are_tied_over_the_group() -> None:
    """A turned sample gives a field the same mean, although it moves over the channels."""
    folded = fold(settled_network(tiny_topology("C4"), TRAIN.images[:8]))
    turned = np.stack([turn(image, Group.parse("C4"), 1) for image in TRAIN.images[:8]])
    first, second = (observed_ranges(folded, images).input_means for images in (TRAIN.images[:8], turned))
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_the_ratio_is_in_decibels() -> None:
    signal = np.array([3.0, 4.0])
    assert Ratio().add(signal, signal + 0.5).decibels == pytest.approx(10 * np.log10(25 / 0.5))


def test_looking_at_activations_does_not_change_the_answer(network: MobileNetV2) -> None:
    int8 = quantize(network, VALID.images[:2]).int8
    seen = activations(int8, VALID.images[:4])
    assert (seen["logits"] == Scorer(int8).logits(VALID.images[:4])).all()
    assert seen["mean"].shape == (4, 4, 1, 1)


def test_scales_of_fields_and_equalization_rescue_a_field_with_small_weights() -> None:
    """One field of an expansion 20 times smaller, its reader's filters 20 times larger: the same function."""
    network = settled_network(tiny_topology("C4"), TRAIN.images[:16])
    block = network.blocks[1]
    assert isinstance(block, InvertedResidual)
    assert block.expand is not None
    with torch.no_grad():
        block.expand.norm.weight[0] /= 20
        block.expand.norm.bias[0] /= 20
        block.depthwise.convolution.weight[0] *= 20
    naive = Scheme(field_scales=False, equalize=False)
    schemes = {"naive": naive, "field scales": Scheme(equalize=False), "equalized": Scheme(field_scales=False)}
    sqnr = {
        name: layer_sqnr(quantize(network, VALID.images[:2], scheme), VALID.images[:8])["block1.depthwise"]
        for name, scheme in schemes.items()
    }
    assert sqnr["field scales"] > sqnr["naive"] + 3
    assert sqnr["equalized"] > sqnr["field scales"] + 3
