"""Helpers to read a graph: stored tensors, inferred shapes, names for messages."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.shape_inference import infer_shapes

from model_zoo.proof import RefusedError


def shapes_of(model: ModelProto) -> dict[str, list[int]]:
    """The inferred dimensions of every node's output; 0 for a free dimension, empty if unknown."""
    inferred = infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    known = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.output)}
    return {name: [d.dim_value for d in known.get(name, ())] for node in inferred.node for name in node.output}


def stored(initializers: dict[str, TensorProto], node: NodeProto, position: int) -> np.ndarray:
    tensor = initializers.get(node.input[position]) if position < len(node.input) else None
    if tensor is None:
        raise RefusedError(f"input {position} of {named(node)} is not stored in the graph, expected an initializer")
    return numpy_helper.to_array(tensor)


def named(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def integers_attribute(node: NodeProto, name: str, default: list[int]) -> list[int]:
    """An attribute of one or several integers."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return default
