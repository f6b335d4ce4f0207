"""Data-free quantization: invariants hold, and exact steps are exact to the last bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper

from model_zoo.symmetry import Group
from model_zoo.turns import Patch, turn
from model_zoo.verify import verify
from tests.training.artifacts import artifact
from tests.training.tiny import as_input, settled_network, synthetic_patches, tiny_topology
from training.augment import jitter_stain
from training.layers import project_exactly
from training.mobilenetv2 import InvertedResidual, MobileNetV2
from training.quantize.equalize import absorb_high_biases, equalize, rectified_pairs
from training.quantize.export import export_int8
from training.quantize.folded import Layer, fold
from training.quantize.pipeline import QuantizationError, Quantized, quantize
from training.quantize.ranges import Quantizer, data_free_ranges
from training.quantize.scheme import Scheme
from training.quantize.weights import WEIGHT_BOUND, round_filters
from training.score import Scorer

GROUPS = ["C1", "C4", "C8", "C12", "D4", "D6"]


@cache
def network_of(name: str) -> MobileNetV2:
    return settled_network(tiny_topology(name), synthetic_patches(16).images)


@cache
def quantized_of(name: str) -> Quantized:
    return quantize(network_of(name), synthetic_patches(8, 16).images)


def margins(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return logits[:, 1].astype(np.float64) - logits[:, 0]


def initializers(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def differing(scorer: Scorer, group: Group, images: Patch) -> int:
    """How many answers to exact turns of the images have other bits than those to the images."""
    expected = scorer.logits(images).view(np.uint32)
    count = 0
    for h in group.exact_elements[1:]:
        turned = np.stack([turn(image, group, h) for image in images])
        count += int((scorer.logits(turned).view(np.uint32) != expected).any(1).sum())
    return count


@pytest.mark.parametrize("name", GROUPS)
def test_folding_and_equalization_do_not_change_the_function(name: str, images: Patch) -> None:
    x = as_input(images[:4]).double()
    with torch.no_grad():
        expected = copy.deepcopy(network_of(name)).double()(x)
    folded = fold(network_of(name))
    assert (folded.forward(x) - expected).abs().max() < 1e-9
    before = folded.stem.weight.clone()
    assert equalize(folded) > 1
    assert (folded.forward(x) - expected).abs().max() < 1e-9
    assert not torch.allclose(folded.stem.weight, before)


def test_equalization_makes_the_ranges_of_every_pair_equal() -> None:
    folded = fold(network_of("C12"))
    equalize(folded)
    for layer, reader in rectified_pairs(folded):
        ours = layer.filters().abs().amax((0, 2, 3, 4, 5))
        torch.testing.assert_close(ours, reader.ranges(), rtol=5e-3, atol=0)


def test_equalization_rescales_the_statistics_along() -> None:
    """The means and deviations that ranges are made of stay those of the outputs."""
    images = synthetic_patches(16).images
    folded = fold(network_of("C4"))
    equalize(folded)
    out = Layer.forward(linear(folded.stem), torch.where(folded.input_disc, as_input(images).double(), 1.0))
    by_field = out.unflatten(1, (4, -1)).transpose(0, 2).flatten(1)
    torch.testing.assert_close(by_field.mean(1), folded.stem.mean, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(by_field.std(1), folded.stem.deviation, rtol=1e-2, atol=0)


def linear(layer: Layer) -> Layer:
    changed = copy.copy(layer)
    changed.linear = True
    return changed


def with_high_biases() -> MobileNetV2:
    """The C4 network with β = 5 and γ = 0.5 in all of its expansions, depthwise layers and head."""
    torch.manual_seed(0)
    network = MobileNetV2(tiny_topology("C4"))
    blocks = [b for b in network.blocks if isinstance(b, InvertedResidual)]
    for unit in [network.head, *(b.depthwise for b in blocks), *(b.expand for b in blocks if b.expand)]:
        torch.nn.init.constant_(unit.norm.weight, 0.5)
        torch.nn.init.constant_(unit.norm.bias, 5.0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(as_input(synthetic_patches(16).images))
    return network.eval()


def test_absorption_touches_high_biases_and_nearly_keeps_the_function(images: Patch) -> None:
    folded = fold(with_high_biases())
    x = as_input(images).double()
    before = folded.forward(x)
    expected = [layer.fields for layer, reader in rectified_pairs(folded) if not reader.padded and layer.mean.min() > 4]
    assert len(expected) > 4
    assert absorb_high_biases(folded) == sum(expected)
    delta = (folded.forward(x) - before).abs().max()
    assert 0 < delta < 0.005 * before.abs().max()
    assert folded.head.mean.max() == pytest.approx(1.5)
    padded = [layer for layer, reader in rectified_pairs(folded) if reader.padded]
    assert padded
    assert all(layer.mean.min() > 4 for layer in padded)


def test_absorption_leaves_ordinary_biases_alone() -> None:
    folded = fold(network_of("C4"))
    for layer in folded.layers():
        layer.mean = torch.minimum(layer.mean, 3 * layer.deviation)
    before = folded.stem.bias.clone()
    assert absorb_high_biases(folded) == 0
    assert torch.equal(folded.stem.bias, before)


@pytest.mark.parametrize("name", GROUPS)
def test_int8_answers_have_the_same_bits_under_the_exact_subgroup(name: str) -> None:
    scorer = Scorer(quantized_of(name).int8)
    images = np.concatenate([synthetic_patches(4, 24).images, noise(4)])
    assert differing(scorer, Group.parse(name), images) == 0
    logits = scorer.logits(images)
    assert len({row.tobytes() for row in logits}) == len(logits)


def test_patches_that_come_again_get_their_own_answers() -> None:
    graph, images = quantized_of("C4").int8, noise(5)
    alone, scorer = Scorer(graph).logits(images), Scorer(graph)
    order = [3, 1, 3, 0]
    for chosen in (order, [2, *order, 4, 4]):
        assert np.array_equal(scorer.logits(images[chosen]), alone[chosen])


def noise(count: int) -> Patch:
    return np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)


def test_a_conventional_network_is_not_invariant() -> None:
    scorer = Scorer(quantized_of("C1").int8)
    images = noise(4)
    assert (scorer.logits(np.rot90(images, axes=(1, 2)).copy()) != scorer.logits(images)).any(1).all()


def test_free_filters_stay_exact() -> None:
    images = synthetic_patches(8, 24).images
    network = settled_network(tiny_topology("D4", free_filters=True), images)
    assert differing(Scorer(quantize(network, images[:2]).int8), Group.parse("D4"), images) == 0


class Untied(Layer):
    """A layer one of whose filter copies was changed a little before rounding."""

    def filters(self) -> torch.Tensor:
        filters = super().filters().clone()
        filters[1] *= 0.95
        return filters


def test_one_untied_filter_copy_breaks_exactness(images: Patch) -> None:
    folded = fold(network_of("C4"))
    equalize(folded)
    tied = export_int8(folded, data_free_ranges(folded))
    assert differing(Scorer(tied), Group.parse("C4"), images) == 0
    folded.blocks[1].depthwise = Untied(**vars(folded.blocks[1].depthwise))
    untied = export_int8(folded, data_free_ranges(folded))
    assert differing(Scorer(untied), Group.parse("C4"), images) > len(images)


@pytest.mark.parametrize("name", GROUPS)
def test_scales_and_biases_repeat_over_the_group(name: str) -> None:
    order = len(Group.parse(name))
    stored = initializers(quantized_of(name).int8)
    layers = [key.removesuffix(".filters.stored") for key in stored if key.endswith(".filters.stored")]
    assert len(layers) == 14
    for layer in layers:
        if layer != "mean":
            for kind in ("filters.scale", "bias.scale", "bias.stored"):
                by_group = stored[f"{layer}.{kind}"].reshape(order, -1)
                assert (by_group == by_group[0]).all(), f"{layer}.{kind}"
        assert stored[f"{layer}.scale"].shape == stored[f"{layer}.zero_point"].shape == ()


@pytest.mark.parametrize("name", GROUPS)
def test_stored_filters_are_exact_orbits_within_the_bound(name: str) -> None:
    group = Group.parse(name)
    stored = initializers(quantized_of(name).int8)
    for key, values in stored.items():
        if key.endswith(".stored") and values.dtype == np.int8:
            assert np.abs(values.astype(int)).max() == WEIGHT_BOUND
        if key.endswith(("depthwise.filters.stored", "stem.filters.stored")):
            filters = torch.from_numpy(values.astype(np.int64)).unflatten(0, (len(group), -1)).movedim(0, -3)
            assert torch.equal(project_exactly(filters, group), filters)


def test_rounding_is_within_half_a_step() -> None:
    for layer in fold(network_of("C12")).layers():
        rounded = round_filters(layer)
        assert rounded.scale.shape == (layer.fields,)
        error = (rounded.real() - layer.filters()).abs().amax((0, 2, 3, 4, 5))
        assert (error <= 0.5001 * rounded.scale).all()


def test_a_quantizer_hits_zero_and_spans_its_range() -> None:
    quantizer = Quantizer.spanning(-1.0, 3.0)
    assert quantizer.zero_point == 64
    assert quantizer.scale * (255 - quantizer.zero_point) == pytest.approx(3.0, abs=quantizer.scale)
    assert Quantizer.spanning(0.5, 2.55) == Quantizer(2.55 / 255, 0)


def test_a_residual_stage_shares_one_quantizer() -> None:
    folded = fold(network_of("C4"))
    ranges = data_free_ranges(folded)
    assert [b.shortcut for b in folded.blocks] == [False, False, True, True]
    streams = [ranges.quantizers[f"block{i}.sum"] for i in range(len(folded.blocks))]
    assert streams[1] == streams[2] == streams[3] != streams[0]
    assert [ranges.quantizers[b.project.name] for b in folded.blocks] == streams


@pytest.mark.parametrize("name", GROUPS)
def test_both_graphs_answer_as_the_network_does(name: str) -> None:
    jittered = jitter_stain(as_input(synthetic_patches(32).images), 0.2, torch.Generator().manual_seed(0))
    images = (255 * jittered).round().byte().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        expected = network_of(name)(as_input(images)).numpy()
    quantized = quantized_of(name)
    assert np.abs(Scorer(quantized.float32).logits(images) - expected).max() < 1e-4
    answers = Scorer(quantized.int8).logits(images)
    assert np.corrcoef(margins(answers), margins(expected))[0, 1] > 0.98


def test_the_figures_say_what_was_done() -> None:
    figures = quantized_of("C12").figures
    assert figures.patches == 8
    assert figures.equalized_delta_float64 < 1e-9
    assert 0 < figures.equalized_delta_float32 < 1e-4
    recipe = figures.recipe()
    assert recipe["weight_bound"] == 64
    assert recipe["absorbed_fields"] == figures.absorbed_fields
    assert ("absorption" in str(recipe["method"])) == (figures.absorbed_fields > 0)


def test_absorption_can_be_left_out(images: Patch) -> None:
    network = with_high_biases()
    absorbed, left = (quantize(network, images, Scheme(absorb=absorb)).figures for absorb in (True, False))
    assert absorbed.absorbed_fields > 0
    assert absorbed.absorbed_delta > 0
    assert (left.absorbed_fields, left.absorbed_delta) == (0, 0)
    assert "absorption" not in str(left.recipe()["method"])


def test_a_changed_function_is_refused(images: Patch) -> None:
    """In training mode the network normalizes by the batch: not the function that was folded."""
    network = copy.deepcopy(network_of("C4")).train()
    with pytest.raises(QuantizationError, match=r"changed a logit by .* the network was not trained as exported"):
        quantize(network, images[:3])


def test_a_cropping_network_answers_but_cannot_become_an_artifact(images: Patch) -> None:
    """The paper's own: from the top left corner, so that a turned patch loses other pixels."""
    topology = replace(tiny_topology("C4"), crop_px=95, stem_px=3)
    network = settled_network(topology, images)
    quantized = quantize(network, images[:2])
    with torch.no_grad():
        expected = network(as_input(images)).numpy()
    assert np.abs(Scorer(quantized.float32).logits(images) - expected).max() < 1e-4
    assert differing(Scorer(quantized.int8), Group.parse("C4"), images) > 0
    report = verify(artifact("C4", "int8", quantized))
    assert [step.name for step in report.steps if not step.passed] == ["exact invariance"]


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("name", GROUPS)
def test_tiny_artifacts_pass_verification(name: str, precision: str) -> None:
    report = verify(artifact(name, precision, quantized_of(name)))
    assert [f"{step.name}: {step.detail}" for step in report.steps if not step.passed] == []
    assert report.steps[-1].name == "exact invariance"
