"""Check that an answer depends on its own patch only, by a rule for each operator, without running it.

Several callers share one call, so the first axis of every computed tensor must remain the batch axis, in the order of
the input. Operators may work along the other axes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper

from model_zoo.graphs import named, shapes_of, stored
from model_zoo.proof import RefusedError


def check_independence(model: ModelProto) -> str:
    """Check that no operator mixes, reorders or counts patches.

    Args:
        model: one that passed :func:`model_zoo.shapes.check_shapes`.
    """
    reader = _Reader(model)
    for node in model.graph.node:
        if any(name in reader.computed for name in node.input):
            rule = _RULES.get(node.op_type)
            if rule is None:
                raise RefusedError(f"no rule guarantees that {named(node)} keeps patches independent")
            rule(reader, node)
            reader.computed.update(node.output)
            reader.split.update(node.output if node.op_type == "Split" else ())
        elif node.op_type != "DequantizeLinear":
            raise RefusedError(f"{named(node)} computes only with stored values: store its result")
    if model.graph.output[0].name not in reader.computed:
        raise RefusedError("the logits do not depend on the patches")
    return f"{len(reader.computed)} tensors keep the patches independent"


class _Reader:
    """The properties of a graph that the rules read.

    Attributes:
        computed: names of the tensors that depend on the patches.
        split: those of them that are outputs of a Split.
    """

    def __init__(self, model: ModelProto) -> None:
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.shapes = shapes_of(model) | {name: list(t.dims) for name, t in self.initializers.items()}
        self.shapes |= {port.name: [d.dim_value for d in port.type.tensor_type.shape.dim] for port in model.graph.input}
        self.computed = {port.name for port in model.graph.input}
        self.split: set[str] = set()

    def rank(self, name: str) -> int:
        return len(self.shapes[name])

    def integers(self, node: NodeProto, position: int) -> list[int]:
        """A stored int64 vector among a node's inputs."""
        values = stored(self.initializers, node, position)
        if values.dtype != np.int64 or values.ndim != 1:
            raise RefusedError(f"input {position} of {named(node)} is {values.dtype}, expected a vector of int64")
        numbers: list[int] = values.tolist()
        return numbers


def _attribute(node: NodeProto, name: str, default: int | Sequence[int] | None = None) -> object:
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    if len(found) > 1:
        raise RefusedError(f"{named(node)} has the attribute {name!r} {len(found)} times")
    return found[0] if found else default


def _only_first_is_computed(reader: _Reader, node: NodeProto) -> None:
    if node.input[0] not in reader.computed or any(name in reader.computed for name in node.input[1:]):
        raise RefusedError(f"{named(node)} computes its parameters from the patches, expected stored ones")


def _inner_axes(node: NodeProto, axes: object) -> None:
    if not isinstance(axes, list) or not axes or min(axes) < 1:
        raise RefusedError(
            f"{named(node)} works along the axes {axes}, expected axes from 1 on: axis 0 counts the patches"
        )


def _elementwise(reader: _Reader, node: NodeProto) -> None:
    """Broadcasting aligns the last axes, so only operands of equal rank have the batch on the same axis."""
    ranks = {reader.rank(name) for name in node.input if name in reader.computed}
    rank = min(ranks)
    for name in node.input:
        if name in reader.computed:
            continue
        dims = reader.shapes[name]
        if len(dims) > rank or (len(dims) == rank and dims[0] != 1):
            raise RefusedError(
                f"{named(node)} broadcasts stored values of shape {dims} over the patches: expected at most {rank} "
                "dimensions, the first of them 1"
            )
    if len(ranks) > 1:
        raise RefusedError(f"{named(node)} joins tensors of {sorted(ranks)} dimensions, which moves the batch axis")


def _unary(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)


def _maximum(reader: _Reader, node: NodeProto) -> None:
    computed = [name for name in node.input if name in reader.computed]
    if not (len(computed) == 1 and len(node.input) == 2) and not reader.split.issuperset(node.input):
        raise RefusedError(
            f"{named(node)} takes {len(node.input)} tensors, {len(computed)} of them computed: expected one computed "
            "and one stored, or only outputs of Splits"
        )
    _elementwise(reader, node)


def _quantizer(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    if any(np.prod(reader.shapes[name]) != 1 for name in node.input[1:] if name):
        raise RefusedError(f"{named(node)} has several scales or zero points for a computed tensor, expected one")


def _gemm(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    if _attribute(node, "transA", 0) != 0:
        raise RefusedError(f"{named(node)} sums over the patches (transA), expected one row per patch")
    dims = reader.shapes[node.input[2]] if len(node.input) > 2 and node.input[2] else []
    if len(dims) > 1 and dims[0] != 1:
        raise RefusedError(f"{named(node)} adds {dims[0]} rows of biases, one per patch, expected one row")


def _transpose(reader: _Reader, node: NodeProto) -> None:
    order = _attribute(node, "perm")
    if not isinstance(order, list) or order[:1] != [0]:
        raise RefusedError(f"{named(node)} moves the patches to another axis ({order}), expected perm to begin with 0")


def _reshape(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    shape = reader.integers(node, 1)
    if shape[:1] != [0] or _attribute(node, "allowzero", 0) != 0:
        raise RefusedError(
            f"{named(node)} gives the shape {shape}, which mixes patches: expected it to begin with 0, and no allowzero"
        )


def _flatten(reader: _Reader, node: NodeProto) -> None:
    if _attribute(node, "axis", 1) != 1:
        raise RefusedError(f"{named(node)} flattens at axis {_attribute(node, 'axis')}, expected 1: one row per patch")


def _reduce_max(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    _inner_axes(node, _attribute(node, "axes"))


def _reduce_sum(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    _inner_axes(node, reader.integers(node, 1))


def _slice(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    for position in (1, 2):
        reader.integers(node, position)
    _inner_axes(node, reader.integers(node, 3))
    if len(node.input) > 4 and node.input[4] and set(reader.integers(node, 4)) != {1}:
        raise RefusedError(f"{named(node)} steps by {reader.integers(node, 4)}, expected steps of 1")


def _concat(reader: _Reader, node: NodeProto) -> None:
    _inner_axes(node, [_attribute(node, "axis", 0)])
    if not reader.computed.issuperset(node.input):
        raise RefusedError(f"{named(node)} joins stored values to computed ones, expected only computed tensors")


def _split(reader: _Reader, node: NodeProto) -> None:
    _only_first_is_computed(reader, node)
    _inner_axes(node, [_attribute(node, "axis", 0)])
    if len(node.input) > 1 and node.input[1]:
        reader.integers(node, 1)


_RULES: dict[str, Callable[[_Reader, NodeProto], None]] = {
    "Where": _elementwise,
    "Add": _elementwise,
    "Mul": _elementwise,
    "Max": _maximum,
    "Cast": _unary,
    "Relu": _unary,
    "Conv": _unary,
    "QuantizeLinear": _quantizer,
    "DequantizeLinear": _quantizer,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "ReduceMax": _reduce_max,
    "ReduceSum": _reduce_sum,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
}
