"""What an artifact's graph may be made of: checks that read the graph and run nothing.

Every check returns what it measured, and raises ``RefusedError`` where the graph breaks a rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

import numpy as np
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, numpy_helper
from onnx.shape_inference import infer_shapes

from model_zoo.proof import RefusedError
from model_zoo.turns import SIDE

OPSET = 17
IR_VERSIONS = range(8, 11)
MAX_NODES = 2048
MAX_INITIALIZERS = 8192
MAX_ENTRIES = 16
MAX_INTEGER = 2**16
MAX_WEIGHT = 64
MAX_VALUES_PER_TENSOR = 2**22
MAX_VALUES_PER_PATCH = 2**26
MAX_PRODUCTS_PER_PATCH = 2**31

_STRUCTURE = frozenset({"Where", "Transpose", "Reshape", "ReduceMax", "Flatten"})
OPERATORS = {
    "int8": _STRUCTURE | {"Conv", "Add", "Gemm", "QuantizeLinear", "DequantizeLinear"},
    "float32": _STRUCTURE | {"Conv", "Add", "Gemm", "Cast", "Mul", "Relu", "ReduceSum"},
}
_INTEGER_OPERATORS = _STRUCTURE | {"QLinearConv", "QLinearAdd", "QGemm", "QuantizeLinear", "DequantizeLinear"}

_FIELDS = {
    "ModelProto": {"ir_version", "producer_name", "producer_version", "doc_string", "graph", "opset_import"}
    | {"metadata_props"},
    "GraphProto": {"name", "doc_string", "node", "initializer", "input", "output"},
    "NodeProto": {"name", "doc_string", "op_type", "domain", "input", "output", "attribute"},
    "AttributeProto": {"name", "doc_string", "type", "f", "i", "s", "floats", "ints", "strings"},
    "TensorProto": {"name", "doc_string", "data_type", "dims", "raw_data", "data_location"},
    "ValueInfoProto": {"name", "doc_string", "type"},
    "TypeProto": {"tensor_type"},
    "Tensor": {"elem_type", "shape"},
}
_BYTES_PER_VALUE: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.BOOL: 1,
}


def check_dialect(model: ModelProto) -> str:
    """One opset of the standard domain, a graph of plain nodes and dense tensors, all inside the file and bounded.

    Each message may hold only the fields listed here, so that neither functions, subgraphs, sparse tensors, external
    data nor what a later version of the format adds can hide anywhere. As every tensor's bytes are exactly those that
    its shape declares, the file's size bounds them all.
    """
    graph = model.graph
    _check_length("the graph's nodes", graph.node, MAX_NODES)
    _check_length("the graph's initializers", graph.initializer, MAX_INITIALIZERS)
    few: dict[str, Sequence[object]] = {
        "the graph's inputs": graph.input,
        "the graph's outputs": graph.output,
        "the model's opsets": model.opset_import,
        "the model's metadata entries": model.metadata_props,
    }
    for name, entries in few.items():
        _check_length(name, entries, MAX_ENTRIES)
    _check_fields(model, "the model")
    _check_nothing_is_unknown(model)
    if model.ir_version not in IR_VERSIONS:
        bounds = f"{IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}"
        raise RefusedError(
            f"the IR version is {model.ir_version}, expected {bounds}: set model.ir_version before hashing"
        )
    opsets = [(entry.domain or "ai.onnx", entry.version) for entry in model.opset_import]
    if opsets != [("ai.onnx", OPSET)]:
        raise RefusedError(f"the opsets are {opsets}, expected only ('ai.onnx', {OPSET})")
    _check_fields(graph, "the graph")
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for node in graph.node:
        _check_node(node)
    for port in (*graph.input, *graph.output):
        _check_fields(port, f"port {port.name!r}")
        _check_fields(port.type, f"the type of port {port.name!r}")
        _check_fields(port.type.tensor_type, f"the type of port {port.name!r}")
        _check_length(f"the dimensions of {port.name!r}", port.type.tensor_type.shape.dim, MAX_ENTRIES)
    _check_names(graph)
    return f"IR {model.ir_version}, opset {OPSET}, {len(graph.node)} nodes, all inside this file"


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
    for name, dims in _shapes(model).items():
        if not dims or not all(dims[1:] if not dims[0] else dims):
            raise RefusedError(f"the shape of {name!r} cannot be inferred: only the first dimension may be free")
    one_patch = ModelProto()
    one_patch.CopyFrom(model)
    for port in (*one_patch.graph.input, *one_patch.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    shapes = _shapes(one_patch)
    known = shapes | {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for name, dims in shapes.items():
        if not dims or min(dims) < 1:
            raise RefusedError(f"the shape of {name!r} for one patch is {dims}, expected positive dimensions")
    values = [prod(dims) for dims in shapes.values()]
    largest = max(values, default=0)
    products = sum(_products(node, known) for node in model.graph.node)
    for measured, limit, what in (
        (largest, MAX_VALUES_PER_TENSOR, "a tensor holds {:,} values for each patch"),
        (sum(values), MAX_VALUES_PER_PATCH, "all tensors hold {:,} values for each patch"),
        (products, MAX_PRODUCTS_PER_PATCH, "the graph multiplies {:,} times for each patch"),
    ):
        if measured > limit:
            raise RefusedError(f"{what.format(measured)}, expected at most {limit:,}")
    return (
        f"uint8 [N, {SIDE}, {SIDE}, 3] → float32 [N, 2], largest tensor {largest:,} values a patch, "
        f"{products:,} products a patch"
    )


def check_weights(model: ModelProto) -> str:
    """int8 weights so small that no kernel without VNNI saturates: 255·(|w1| + |w2|) fits int16 for neighbours."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    largest = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = _stored(initializers, node, 1)
            if not (np.isfinite(scale) & (scale > 0)).all():
                raise RefusedError(f"a scale of {_named(node)} is not a positive finite number")
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


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """The inferred dimensions of what every node gives, 0 where a dimension is free, empty where none is known."""
    inferred = infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    known = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.output)}
    return {name: [d.dim_value for d in known.get(name, ())] for node in inferred.node for name in node.output}


def _products(node: NodeProto, shapes: dict[str, list[int]]) -> int:
    """How often a node multiplies two values for one patch."""
    if node.op_type not in ("Conv", "Gemm"):
        return 0
    weights = shapes[node.input[1]]
    return prod(shapes[node.output[0]]) * prod(weights[1:]) if node.op_type == "Conv" else prod(weights)


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise RefusedError(f"initializer {tensor.name!r} is external data: an artifact is one file, store it inside")
    name = f"initializer {tensor.name!r}"
    _check_fields(tensor, name)
    _check_length(f"the dimensions of {name}", tensor.dims, MAX_ENTRIES)
    size = _BYTES_PER_VALUE.get(tensor.data_type)
    if size is None:
        raise RefusedError(f"{name} is of data type {tensor.data_type}, expected float32, bool or an integer")
    if any(dim < 1 for dim in tensor.dims) or prod(tensor.dims) * size != len(tensor.raw_data):
        raise RefusedError(
            f"{name} declares the shape {list(tensor.dims)} of {size} bytes a value, but holds {len(tensor.raw_data):,}"
        )


def _check_node(node: NodeProto) -> None:
    _check_fields(node, _named(node))
    for field in ("input", "output", "attribute"):
        _check_length(f"the {field}s of {_named(node)}", getattr(node, field), MAX_ENTRIES)
    if node.domain not in ("", "ai.onnx"):
        raise RefusedError(f"{_named(node)} is of domain {node.domain!r}, expected the standard domain")
    for attribute in node.attribute:
        name = f"attribute {attribute.name!r} of {_named(node)}"
        _check_fields(attribute, name)
        for values in (attribute.ints, attribute.floats, attribute.strings):
            _check_length(name, values, MAX_ENTRIES)
        if any(abs(value) > MAX_INTEGER for value in (attribute.i, *attribute.ints)):
            raise RefusedError(f"{name} holds an integer beyond ±{MAX_INTEGER:,}")


def _check_names(graph: GraphProto) -> None:
    stored = [tensor.name for tensor in graph.initializer]
    given = [name for node in graph.node for name in node.output]
    counts = Counter([*stored, *given, *(port.name for port in graph.input)])
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise RefusedError(f"several tensors have the name {repeated[0]!r}, expected one of each name")


def _check_fields(message: Message, name: str) -> None:
    allowed = _FIELDS[message.DESCRIPTOR.name]
    if foreign := [field.name for field, _ in message.ListFields() if field.name not in allowed]:
        raise RefusedError(f"{name} holds {', '.join(foreign)}, expected only {', '.join(sorted(allowed))}")


def _check_nothing_is_unknown(model: ModelProto) -> None:
    known = ModelProto()
    known.CopyFrom(model)
    known.DiscardUnknownFields()
    if known.ByteSize() != model.ByteSize():
        raise RefusedError(f"{model.ByteSize() - known.ByteSize():,} bytes belong to no field of the ONNX format")


def _check_length(name: str, entries: Sequence[object], limit: int) -> None:
    if len(entries) > limit:
        raise RefusedError(f"{name} are {len(entries):,}, expected at most {limit:,}")


def _stored(initializers: dict[str, TensorProto], node: NodeProto, position: int) -> np.ndarray:
    tensor = initializers.get(node.input[position]) if position < len(node.input) else None
    if tensor is None:
        raise RefusedError(f"input {position} of {_named(node)} is not stored in the graph, expected an initializer")
    return numpy_helper.to_array(tensor)


def _named(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"
