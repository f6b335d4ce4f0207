"""The exported graphs: integers only, few transpositions, and the bits of the plain graph."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, helper, numpy_helper

from model_zoo.dialect import check_operators
from model_zoo.independence import check_independence
from model_zoo.network import session_options
from model_zoo.symmetry import Group
from model_zoo.turns import Patch
from tests.training.tiny import settled_network, tiny_dense, tiny_topology
from training.mobilenetv2 import disc
from training.quantize.export import prime_factors
from training.quantize.pipeline import quantize
from training.score import Scorer


def plain(model: onnx.ModelProto, group: Group) -> onnx.ModelProto:
    """The graph with its mask as Where and its maximum over the group as Reshape and ReduceMax."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    fields, _, side, _ = next(t.dims for t in model.graph.initializer if t.name.startswith("mean.filters"))
    inside = np.repeat(disc(96).numpy()[None, :, :, None], 3, 3)
    shape = np.array([0, len(group), fields, side, side], np.int64)
    for name, values in {"inside": inside, "white": np.array(255, np.uint8), "by_group": shape}.items():
        written.graph.initializer.append(numpy_helper.from_array(values, name))
    splits = [node for node in model.graph.node if node.op_type == "Split"]
    maxima = [node for node in model.graph.node if node.op_type == "Max" and node.input[0] != "patches"]
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Max" and node not in maxima:
            nodes.append(helper.make_node("Where", ["inside", "patches", "white"], node.output))
        elif node.op_type not in ("Max", "Split"):
            nodes.append(node)
        elif node == maxima[-1]:
            nodes.append(helper.make_node("Reshape", [splits[0].input[0], "by_group"], ["orbit"]))
            nodes.append(helper.make_node("ReduceMax", ["orbit"], node.output, axes=[1], keepdims=0))
    del written.graph.node[:]
    written.graph.node.extend(nodes)
    return written


def optimized(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator is left after onnxruntime's optimization."""
    everything = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    compiler = ort.ModelCompiler(session_options(), model.SerializeToString(), graph_optimization_level=everything)
    return Counter(node.op_type for node in onnx.ModelProto.FromString(compiler.compile_to_bytes()).graph.node)


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", ["C4", "C12", "D6"])
def test_the_exported_graph_has_the_bits_of_the_plain_one(
    name: str, dense: bool, precision: str, images: Patch
) -> None:
    topology = tiny_dense(name) if dense else tiny_topology(name)
    quantized = quantize(settled_network(topology, images), images[:4])
    model = quantized.int8 if precision == "int8" else quantized.float32
    check_operators(model, precision)
    check_independence(model)
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    reference = plain(model, Group.parse(name))
    assert {"ReduceMax"} <= {node.op_type for node in reference.graph.node}
    for patches in (images, noise):
        assert Scorer(model).logits(patches).tobytes() == Scorer(reference).logits(patches).tobytes()


@pytest.mark.parametrize("dense", [False, True])
def test_the_int8_graph_stays_on_integers_with_two_transpositions(dense: bool, images: Patch) -> None:
    topology = tiny_dense("C12") if dense else tiny_topology("C12")
    model = quantize(settled_network(topology, images), images[:4]).int8
    counts = optimized(model)
    assert counts.keys() <= {
        "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearAdd", "QGemm",
        "Max", "Split", "Slice", "Transpose", "Flatten",
    }  # fmt: skip
    assert counts["QuantizeLinear"] == counts["DequantizeLinear"] == 0
    assert counts["Transpose"] <= 2 < optimized(plain(model, Group.parse("C12")))["Transpose"]


@pytest.mark.parametrize(("number", "factors"), [(1, []), (2, [2]), (12, [2, 2, 3]), (24, [2, 2, 2, 3]), (7, [7])])
def test_prime_factors(number: int, factors: list[int]) -> None:
    assert prime_factors(number) == factors
