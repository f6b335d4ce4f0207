"""The dialect of artifacts: checks that read the graph and run nothing.

Every check returns its measurement, and raises ``RefusedError`` if the graph breaks a rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from model_zoo.graphs import named
from model_zoo.proof import RefusedError

OPSET = 17
IR_VERSIONS = range(8, 11)
MAX_NODES = 2048
MAX_INITIALIZERS = 8192
MAX_ENTRIES = 16
MAX_INTEGER = 2**16

STRUCTURE = frozenset({"Where", "Transpose", "Reshape", "ReduceMax", "Flatten", "Slice", "Split", "Max", "Concat"})
OPERATORS = {
    "int8": STRUCTURE | {"Conv", "Add", "Gemm", "QuantizeLinear", "DequantizeLinear"},
    "float32": STRUCTURE | {"Conv", "Add", "Gemm", "Cast", "Mul", "Relu", "ReduceSum"},
}

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

    Each message may have only the fields listed here. This excludes functions, subgraphs, sparse tensors, external data
    and additions of later format versions. Every tensor has exactly the bytes that its shape declares, so the file's
    size bounds them all.
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
    _check_fields(node, named(node))
    for field in ("input", "output", "attribute"):
        _check_length(f"the {field}s of {named(node)}", getattr(node, field), MAX_ENTRIES)
    if node.domain not in ("", "ai.onnx"):
        raise RefusedError(f"{named(node)} is of domain {node.domain!r}, expected the standard domain")
    for attribute in node.attribute:
        name = f"attribute {attribute.name!r} of {named(node)}"
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
