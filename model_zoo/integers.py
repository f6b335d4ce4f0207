"""The arithmetic of an INT8 artifact: weights that cannot saturate a kernel, and integers only."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto

from model_zoo.dialect import STRUCTURE
from model_zoo.graphs import integers_attribute, named, stored
from model_zoo.proof import RefusedError

MAX_WEIGHT = 64
INTEGER_OPERATORS = STRUCTURE | {"QLinearConv", "QLinearAdd", "QGemm", "QuantizeLinear", "DequantizeLinear"}


def check_weights(model: ModelProto) -> str:
    """Check that int8 weights cannot saturate a kernel without VNNI: 255·(|w1| + |w2|) fits int16."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    largest = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = stored(initializers, node, 1)
            if not (np.isfinite(scale) & (scale > 0)).all():
                raise RefusedError(f"a scale of {named(node)} is not a positive finite number")
        if node.op_type == "QuantizeLinear":
            if stored(initializers, node, 2).dtype != np.uint8:
                raise RefusedError(f"{named(node)} does not quantize to uint8, which all activations need")
        elif node.op_type in ("Conv", "Gemm"):
            source = producers.get(node.input[1])
            if source is None or source.op_type != "DequantizeLinear":
                raise RefusedError(f"the weights of {named(node)} do not come from a DequantizeLinear")
            weights = stored(initializers, source, 0)
            if weights.dtype != np.int8:
                raise RefusedError(f"the weights of {named(node)} are {weights.dtype}, expected int8")
            if len(source.input) > 2 and source.input[2] and stored(initializers, source, 2).any():
                raise RefusedError(f"the weights of {named(node)} have a zero point other than 0")
            _check_axis(node, source, weights.ndim, stored(initializers, source, 1).size)
            bound = int(np.abs(weights.astype(np.int64)).max(initial=0))
            if bound > MAX_WEIGHT:
                raise RefusedError(
                    f"{named(node)} has a weight of magnitude {bound}, expected at most {MAX_WEIGHT}: "
                    f"255·({bound}+{bound}) may exceed 32,767, and CPUs without VNNI would saturate"
                )
            largest = max(largest, bound)
    return f"largest |weight| {largest}, so 255·(|w1|+|w2|) ≤ {255 * 2 * largest:,} ≤ 32,767"


def _check_axis(node: NodeProto, source: NodeProto, dimensions: int, scales: int) -> None:
    """onnxruntime takes the scales of weights for those of the output channels, whatever their axis is."""
    outputs = int(node.op_type == "Gemm" and integers_attribute(node, "transB", [0]) == [0])
    axis = integers_attribute(source, "axis", [1])[0]
    if scales > 1 and axis not in {outputs, outputs - dimensions}:
        raise RefusedError(
            f"the weights of {named(node)} have scales along axis {axis}, but onnxruntime applies them along axis "
            f"{outputs}, the output channels: quantize with axis={outputs}"
        )


def check_integer_graph(optimized: ModelProto) -> str:
    """Check that after onnxruntime's optimization all arithmetic is integer, and sums need no rescaling.

    Args:
        optimized: the graph as onnxruntime runs it.
    """
    graph = optimized.graph
    counts = Counter(node.op_type for node in graph.node)
    real: dict[str, NodeProto] = {}
    for node in graph.node:
        if node.op_type not in INTEGER_OPERATORS or node.domain not in ("", "ai.onnx", "com.microsoft"):
            raise RefusedError(
                f"float {named(node)} is left after optimization: its bits depend on the CPU. Put a "
                "separate QuantizeLinear/DequantizeLinear pair before each of its inputs and after its output"
            )
        if node.op_type == "DequantizeLinear" or (node.op_type == "QGemm" and not any(node.input[7:])):
            real.update(dict.fromkeys(node.output, node))
    for node in graph.node:
        for name in node.input:
            if name in real and node.op_type == "Reshape":
                real.update(dict.fromkeys(node.output, node))  # moves floats without computing
            elif name in real and node.op_type != "QuantizeLinear":
                raise RefusedError(f"{named(node)} computes in float, on the output of {named(real[name])}")
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QLinearAdd":
            a, b, c = ([stored(initializers, node, i).item() for i in pair] for pair in ((1, 2), (4, 5), (6, 7)))
            if not a == b == c:
                raise RefusedError(f"{named(node)} adds and gives unequal (scale, zero point) {a}, {b}, {c}: tie them")
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("QLinearConv", "QLinearAdd", "QGemm"))
    return f"{kinds}; no float arithmetic left"
