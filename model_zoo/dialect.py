"""What an artifact's graph may be made of: checks that read the graph and run nothing.

Every check returns what it measured, and raises ``RefusedError`` where the graph breaks a rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, numpy_helper
from onnx.shape_inference import infer_shapes

from model_zoo.turns import SIDE

OPSET = 17
IR_VERSIONS = range(8, 11)
MAX_WEIGHT = 64
MAX_VALUES_PER_PATCH = 2**22

_STRUCTURE = frozenset({"Where", "Transpose", "Reshape", "ReduceMax", "Flatten"})
OPERATORS = {
    "int8": _STRUCTURE | {"Conv", "Add", "Gemm", "QuantizeLinear", "DequantizeLinear"},
    "float32": _STRUCTURE | {"Conv", "Add", "Gemm", "Cast", "Mul", "Relu", "ReduceSum"},
}
_INTEGER_OPERATORS = _STRUCTURE | {"QLinearConv", "QLinearAdd", "QGemm", "QuantizeLinear", "DequantizeLinear"}
_PLAIN_ATTRIBUTES = {
    AttributeProto.FLOAT,
    AttributeProto.INT,
    AttributeProto.STRING,
    AttributeProto.FLOATS,
    AttributeProto.INTS,
    AttributeProto.STRINGS,
}


class RefusedError(ValueError):
    """A graph breaks a rule of the artifact's dialect."""


def check_dialect(model: ModelProto) -> str:
    """One opset of the standard domain; no functions, subgraphs, stored tensors in nodes or external data."""
    if model.ir_version not in IR_VERSIONS:
        bounds = f"{IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}"
        raise RefusedError(
            f"the IR version is {model.ir_version}, expected {bounds}: set model.ir_version before hashing"
        )
    opsets = [(entry.domain or "ai.onnx", entry.version) for entry in model.opset_import]
    if opsets != [("ai.onnx", OPSET)]:
        raise RefusedError(f"the opsets are {opsets}, expected only ('ai.onnx', {OPSET})")
    if model.functions or model.training_info:
        raise RefusedError("the model holds functions or training information, expected a bare graph")
    if model.graph.sparse_initializer:
        raise RefusedError("the graph holds sparse initializers, expected dense ones")
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            raise RefusedError(
                f"initializer {tensor.name!r} is external data: an artifact is one file, store it inside"
            )
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise RefusedError(f"{_named(node)} is of domain {node.domain!r}, expected the standard domain")
        for attribute in node.attribute:
            if attribute.type not in _PLAIN_ATTRIBUTES or attribute.ref_attr_name:
                kind = AttributeProto.AttributeType.Name(attribute.type)
                raise RefusedError(
                    f"{_named(node)} has the {kind} attribute {attribute.name!r}, expected numbers or strings"
                )
    return f"IR {model.ir_version}, opset {OPSET}, {len(model.graph.node)} nodes, all inside this file"


def check_operators(model: ModelProto, precision: str) -> str:
    """Only the operators that an artifact of this precision (``"int8"`` or ``"float32"``) needs."""
    counts = Counter(node.op_type for node in model.graph.node)
    if foreign := sorted(counts.keys() - OPERATORS[precision]):
        allowed = ", ".join(sorted(OPERATORS[precision]))
        raise RefusedError(
            f"the operators {', '.join(foreign)} are not allowed in an {precision} artifact, only {allowed}"
        )
    return ", ".join(f"{n} {operator}" for operator, n in counts.most_common())


def check_shapes(model: ModelProto) -> str:
    """uint8 ``patches`` [N, 96, 96, 3] → float32 ``logits`` [N, 2], every shape between them known and bounded."""
    _check_port("input", model.graph.input, "patches", TensorProto.UINT8, [SIDE, SIDE, 3])
    _check_port("output", model.graph.output, "logits", TensorProto.FLOAT, [2])
    checker.check_model(model, full_check=True)
    inferred = infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    largest = 0
    for name in (name for node in inferred.node for name in node.output):
        dims = [d.dim_value for d in known[name].type.tensor_type.shape.dim] if name in known else []
        constant_first = dims[1:] if not (dims and dims[0]) else dims
        if not dims or not all(constant_first):
            raise RefusedError(f"the shape of {name!r} cannot be inferred: only the first dimension may be free")
        largest = max(largest, prod(constant_first))
    if largest > MAX_VALUES_PER_PATCH:
        raise RefusedError(
            f"a tensor holds {largest:,} values for each patch, expected at most {MAX_VALUES_PER_PATCH:,}"
        )
    return f"uint8 [N, {SIDE}, {SIDE}, 3] → float32 [N, 2], largest tensor {largest:,} values a patch"


def check_weights(model: ModelProto) -> str:
    """int8 weights so small that no kernel without VNNI saturates: 255·(|w1| + |w2|) fits int16 for neighbours."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    largest = 0
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            if _stored(initializers, node, 2).dtype != np.uint8:
                raise RefusedError(f"{_named(node)} does not quantize to uint8, as all activations must")
        elif node.op_type in ("Conv", "Gemm"):
            source = producers.get(node.input[1])
            if source is None or source.op_type != "DequantizeLinear":
                raise RefusedError(f"the weights of {_named(node)} do not come from a DequantizeLinear")
            weights = _stored(initializers, source, 0)
            if weights.dtype != np.int8:
                raise RefusedError(f"the weights of {_named(node)} are {weights.dtype}, expected int8")
            if len(source.input) > 2 and source.input[2] and _stored(initializers, source, 2).any():
                raise RefusedError(f"the weights of {_named(node)} have a zero point other than 0")
            bound = int(np.abs(weights.astype(np.int64)).max(initial=0))
            if bound > MAX_WEIGHT:
                raise RefusedError(
                    f"{_named(node)} has a weight of magnitude {bound}, expected at most {MAX_WEIGHT}: "
                    f"255·({bound}+{bound}) may exceed 32,767, and CPUs without VNNI would saturate"
                )
            largest = max(largest, bound)
    return f"largest |weight| {largest}, so 255·(|w1|+|w2|) ≤ {255 * 2 * largest:,} ≤ 32,767"


def check_integer_graph(optimized: ModelProto) -> str:
    """After onnxruntime's optimization all arithmetic is integer, and sums need no rescaling.

    Args:
        optimized: the graph as onnxruntime runs it.
    """
    graph = optimized.graph
    counts = Counter(node.op_type for node in graph.node)
    real: dict[str, NodeProto] = {}
    for node in graph.node:
        if node.op_type not in _INTEGER_OPERATORS or node.domain not in ("", "ai.onnx", "com.microsoft"):
            raise RefusedError(
                f"float {_named(node)} is left after optimization: its bits depend on the CPU. Put a "
                "QuantizeLinear/DequantizeLinear pair of its own before each of its inputs and after its output"
            )
        if node.op_type == "DequantizeLinear" or (node.op_type == "QGemm" and not any(node.input[7:])):
            real.update(dict.fromkeys(node.output, node))
    for node in graph.node:
        for name in node.input:
            if name in real and node.op_type != "QuantizeLinear":
                raise RefusedError(f"{_named(node)} computes in float, on the output of {_named(real[name])}")
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QLinearAdd":
            a, b, c = ([_stored(initializers, node, i).item() for i in pair] for pair in ((1, 2), (4, 5), (6, 7)))
            if not a == b == c:
                raise RefusedError(f"{_named(node)} adds and gives unequal (scale, zero point) {a}, {b}, {c}: tie them")
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("QLinearConv", "QLinearAdd", "QGemm"))
    return f"{kinds}; no float arithmetic left"


def _check_port(
    kind: str, ports: Sequence[ValueInfoProto], name: str, element_type: TensorProto.DataType, dims: list[int]
) -> None:
    if [port.name for port in ports] != [name]:
        raise RefusedError(f"the {kind}s are {[port.name for port in ports]}, expected only {name!r}")
    tensor = ports[0].type.tensor_type
    actual = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    if tensor.elem_type != element_type or actual[1:] != dims or isinstance(actual[0], int):
        found, expected = (TensorProto.DataType.Name(t).lower() for t in (tensor.elem_type, element_type))
        raise RefusedError(f"{kind} {name!r} is {found} {actual}, expected {expected} {['N', *dims]}")


def _stored(initializers: dict[str, TensorProto], node: NodeProto, position: int) -> np.ndarray:
    tensor = initializers.get(node.input[position]) if position < len(node.input) else None
    if tensor is None:
        raise RefusedError(f"input {position} of {_named(node)} is not stored in the graph, expected an initializer")
    return numpy_helper.to_array(tensor)


def _named(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"
