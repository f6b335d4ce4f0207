"""Dense networks: grids, receptive fields, and equality to filters over a slide."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from model_zoo.network import session_options
from model_zoo.symmetry import Group
from model_zoo.turns import Patch
from tests.training.test_quantize import differing
from tests.training.tiny import as_input, settled_network, tiny_dense
from training.layers import exact_turn
from training.mobilenetv2 import MobileNetV2, Topology, disc, pooled_positions
from training.quantize.folded import fold
from training.quantize.observed import observed_ranges
from training.quantize.pipeline import quantize
from training.score import Scorer
from training.study.measure import macs
from training.topologies import TOPOLOGIES
from training.transfer import transferred

Pool = Literal["disc", "inner"]
POOLS: tuple[Pool, ...] = ("disc", "inner")


@pytest.mark.parametrize(
    ("name", "grids", "receptive_field", "pooled", "million_macs"),
    [
        ("dense", (96, 47, 23, 19, 5, 3), 80, 9, 34.8),
        ("dense-inner", (96, 47, 23, 21, 6), 56, 4, 27.3),
    ],
)
def test_named_topologies(
    name: str, grids: tuple[int, ...], receptive_field: int, pooled: int, million_macs: float
) -> None:
    topology = TOPOLOGIES[name]
    assert topology.grids() == grids
    assert (topology.stride, topology.receptive_field) == (8, receptive_field)
    assert (96 - receptive_field) // 8 + 1 == grids[-1]
    assert int(pooled_positions(topology).sum()) == pooled
    assert macs(MobileNetV2(topology)) / 1e6 == pytest.approx(million_macs, abs=0.05)


def test_a_grid_that_is_used_up_is_refused() -> None:
    topology = replace(TOPOLOGIES["balanced"], dense=True)
    with pytest.raises(ValueError, match=r"stage 3: a 3×3 filter without padding does not fit on 1×1 pixels; take"):
        MobileNetV2(topology)


def test_without_a_receptive_field_in_the_disc_nothing_can_be_pooled() -> None:
    with pytest.raises(ValueError, match="no receptive field of 80 pixels lies within the disc of a 96 px patch"):
        MobileNetV2(replace(TOPOLOGIES["dense"], pool="inner"))


def seen(topology: Topology, images: Patch) -> torch.Tensor:
    """Pixels [96, 96] of the patch that the logits depend on."""
    network = settled_network(topology, images[:2])
    x = as_input(images[:2]).requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None
    return x.grad.abs().sum((0, 1)) > 0


def test_inner_positions_see_the_disc_alone(images: Patch) -> None:
    inner = seen(tiny_dense("C4", "inner"), images)
    assert not (inner & ~disc(96)).any()
    assert inner.any(0).sum() == 56 + 8
    everything = seen(tiny_dense("C4"), images)
    assert everything[0].any()
    assert (everything & ~disc(96)).any()


@pytest.mark.parametrize("pool", POOLS)
def test_the_logits_do_not_change_under_the_exact_subgroup(pool: Pool, images: Patch) -> None:
    group = Group.parse("D4")
    network = settled_network(tiny_dense("D4", pool), images).double()
    x = as_input(images).double()
    with torch.no_grad():
        logits = network(x)
        for h in group.exact_elements:
            assert (network(exact_turn(x, group, h)) - logits).abs().max() <= 1e-9
    assert logits.std(0).min() > 1e-3


def test_the_topology_tells_the_stride_of_what_the_network_computes(images: Patch) -> None:
    """The last map of a patch is that of a shifted patch, shifted by one position for each stride."""
    network = settled_network(tiny_dense("C12"), images)
    x = torch.cat([as_input(images[:2]), as_input(images[2:4])], dim=3).double()
    network = network.double()
    with torch.no_grad():
        here, there = (network.head(network.blocks(network.stem(x[..., at : at + 96]))) for at in (0, 8))
    assert (here[..., 1:] - there[..., :-1]).abs().max() < 1e-9


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["C1", "C12"])
def test_exports_are_the_trained_network(name: str, pool: Pool, images: Patch) -> None:
    network = settled_network(tiny_dense(name, pool), images)
    with torch.no_grad():
        expected = network(as_input(images)).numpy()
        folded = fold(network).forward(as_input(images).double()).numpy()
    assert np.abs(folded - expected).max() < 1e-4
    quantized = quantize(network, images[:8])
    assert np.abs(Scorer(quantized.float32).logits(images) - expected).max() < 1e-4
    int8 = Scorer(quantized.int8)
    order = np.argsort(expected[:, 1] - expected[:, 0])
    margins = (int8.logits(images)[:, 1] - int8.logits(images)[:, 0])[order]
    assert np.corrcoef(margins, (expected[:, 1] - expected[:, 0])[order])[0, 1] > 0.9
    assert differing(int8, Group.parse(name), images[:4]) == 0


def test_the_int8_graph_runs_on_integers_alone(images: Patch) -> None:
    quantized = quantize(settled_network(tiny_dense("C12"), images), images[:4])
    compiler = ort.ModelCompiler(
        session_options(),
        quantized.int8.SerializeToString(),
        graph_optimization_level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    )
    operators = [node.op_type for node in onnx.ModelProto.FromString(compiler.compile_to_bytes()).graph.node]
    assert {"Conv", "Add", "Gemm", "DequantizeLinear"}.isdisjoint(operators[:-1])
    assert operators.count("QLinearAdd") == operators.count("Slice")
    assert operators.count("Slice") > 2


def test_ranges_can_be_observed_where_shortcuts_are_cropped(images: Patch) -> None:
    network = settled_network(tiny_dense("C4"), images)
    ranges = observed_ranges(fold(network), images)
    assert {"stem", "head", "mean"} <= ranges.quantizers.keys()


def test_a_network_with_more_blocks_gives_the_first_ones_of_each_stage(images: Patch) -> None:
    topology = tiny_dense("C4")
    deeper = replace(topology, dense=False, stages=(*topology.stages[:2], (2, 8, 4, 2), (2, 16, 2, 1)))
    source = settled_network(deeper, images)
    network = transferred(source, topology)
    for here, there in enumerate((0, 1, 2, 3, 4, 5, 7)):
        for name, tensor in network.blocks[here].state_dict().items():
            assert torch.equal(tensor, source.blocks[there].state_dict()[name])
    assert torch.equal(network.classifier.weight, source.classifier.weight)
    same = transferred(source, deeper)
    with torch.no_grad():
        assert torch.equal(same(as_input(images)), source(as_input(images)))


@pytest.mark.parametrize(
    "other", [tiny_dense("C8"), tiny_dense("C4", "inner"), replace(tiny_dense("C4"), head_channels=8)]
)
def test_a_start_that_lacks_weights_is_refused(other: Topology, images: Patch) -> None:
    with pytest.raises(ValueError, match="the topologies differ in more than padding"):
        transferred(settled_network(tiny_dense("C4"), images), other)


def test_a_stage_that_needs_more_blocks_is_refused(images: Patch) -> None:
    topology = tiny_dense("C4")
    longer = replace(topology, dense=False, stages=(*topology.stages[:3], (2, 16, 2, 1)))
    with pytest.raises(ValueError, match="or a stage needs more blocks than there are"):
        transferred(settled_network(topology, images), longer)
