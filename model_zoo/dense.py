"""Dense networks: one pass over a region gives the bits of every window at a multiple of the stride.

A network without padding and mask is a filter over a slide: integer sums have no order, and no window sees a border.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnx.shape_inference import InferenceError

from model_zoo.graphs import integers_attribute, named, shapes_of, stored
from model_zoo.turns import SIDE

MAX_SIDE = 1024
MAX_VALUES = 2**26  # of a tensor of a region

_LOCAL = frozenset({"QuantizeLinear", "DequantizeLinear", "Relu", "Cast"})


class DenseError(ValueError):
    """A network is not dense, or the sides of a region are out of bounds."""


@dataclass(frozen=True)
class Geometry:
    """Stride and receptive field of a dense network.

    Attributes:
        stride: pixels between neighbouring windows.
        receptive_field: side in pixels of the receptive field of one position of the last feature map.
    """

    stride: int
    receptive_field: int

    def windows(self, side: int) -> int:
        """The number of 96 px windows along a side of a region."""
        return (side - SIDE) // self.stride + 1


def geometry(model: ModelProto) -> Geometry:
    """Stride and receptive field of a dense artifact's graph.

    Args:
        model: of an artifact, for patches of 96 px.

    Raises:
        DenseError: if an operator depends on the border or the position of a patch.
    """
    try:
        walk = _Walk(model)
    except InferenceError as error:
        raise DenseError(f"its shapes do not fit: {error}") from error
    for node in model.graph.node:
        walk.add(node)
    found = walk.before_pooling
    output, last = model.graph.output[0].name, model.graph.node[-1]
    ends_well = walk.flattened == 1 and last.op_type == "Gemm" and list(last.output) == [output]
    if found is None or not ends_well or walk.seen[output] != SIDE:
        raise DenseError(f"the graph does not end in a Conv over the rest of a {SIDE} px patch, a Flatten and a Gemm")
    return found


def region_graph(model: ModelProto, height: int, width: int) -> ModelProto:
    """The graph for one pass over a region, with the weights of the artifact.

    Args:
        model: of a dense artifact, with or without its manifest.
        height: of the region in pixels, from 96 to 1024.
        width: likewise. Pixels beyond the last whole window are not used.

    Returns:
        uint8 ``patches`` [N, height, width, 3] → float32 ``logits`` [N, rows, columns, 2]: row i, column j is the
        answer to the window whose top left corner is at ``(i · stride, j · stride)``.

    Raises:
        DenseError: if the network is not dense, or a side is out of bounds.
    """
    for name, side in (("height", height), ("width", width)):
        if not SIDE <= side <= MAX_SIDE:
            raise DenseError(f"the region's {name} is {side} px, expected {SIDE} to {MAX_SIDE}: cut it into parts")
    shape = geometry(model)
    rows, columns = shape.windows(height), shape.windows(width)
    features = shapes_of(model)[_only(model, "Flatten").output[0]][1]
    region = ModelProto()
    region.CopyFrom(model)
    region.ClearField("metadata_props")
    dims = region.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[2].dim_value = height, width
    logits = region.graph.output[0]
    logits.CopyFrom(
        helper.make_tensor_value_info(logits.name, logits.type.tensor_type.elem_type, ["N", rows, columns, 2])
    )
    _store(region, "windows.features", [-1, features])
    _store(region, "windows.logits", [-1, rows, columns, 2])
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Flatten":
            nodes.append(helper.make_node("Transpose", node.input, ["windows.last"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", ["windows.last", "windows.features"], node.output))
        else:
            nodes.append(node)
    last = NodeProto()
    last.CopyFrom(nodes[-1])
    last.output[0] = "windows.answers"
    nodes[-1] = last
    nodes.append(helper.make_node("Reshape", ["windows.answers", "windows.logits"], [logits.name]))
    del region.graph.node[:]
    region.graph.node.extend(nodes)
    largest = max(prod(dims) for dims in shapes_of(region).values())
    if largest > MAX_VALUES:
        raise DenseError(f"a tensor of {height}×{width} px holds {largest:,} values, expected at most {MAX_VALUES:,}")
    return region


def _only(model: ModelProto, operator: str) -> NodeProto:
    (node,) = [node for node in model.graph.node if node.op_type == operator]
    return node


def _store(model: ModelProto, name: str, values: list[int]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))


class _Walk:
    """Step and receptive field of each computed tensor, from the input on.

    Attributes:
        steps: pixels between neighbouring positions of a tensor, by its name.
        seen: side in pixels of the receptive field of one of its positions.
        before_pooling: the geometry of the input of the last Conv with a kernel larger than 1×1.
        flattened: the number of Flatten nodes.
    """

    def __init__(self, model: ModelProto) -> None:
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.steps: dict[str, int] = {port.name: 1 for port in model.graph.input}
        self.seen: dict[str, int] = {port.name: 1 for port in model.graph.input}
        self.before_pooling: Geometry | None = None
        self.flattened = 0
        self._shapes = shapes_of(model) | {name: list(t.dims) for name, t in self.initializers.items()}

    def add(self, node: NodeProto) -> None:
        sources = [name for name in node.input if name in self.steps]
        if not sources:
            return
        step, seen = max(self.steps[name] for name in sources), max(self.seen[name] for name in sources)
        if any(self.steps[name] != step for name in sources):
            raise DenseError(f"{named(node)} joins feature maps of different strides")
        if node.op_type == "Conv":
            step, seen = self._convolved(node, step, seen)
        elif node.op_type not in _LOCAL:
            self._check_local(node)
        for name in node.output:
            self.steps[name], self.seen[name] = step, seen

    def _convolved(self, node: NodeProto, step: int, seen: int) -> tuple[int, int]:
        kernel = self._shapes[node.input[1]][2:]
        if len(kernel) != 2 or kernel[0] != kernel[1]:
            raise DenseError(f"{named(node)} has filters of {kernel} pixels, expected squares")
        strides = integers_attribute(node, "strides", [1, 1])
        unpadded = not any(integers_attribute(node, "pads", [0]))
        plain = {attribute.name for attribute in node.attribute} <= {"kernel_shape", "strides", "pads", "group"}
        if strides[0] != strides[-1] or not unpadded or not plain:
            raise DenseError(f"{named(node)} pads, dilates or has unequal strides: a dense network does not")
        if kernel[0] > 1:
            self.before_pooling = Geometry(step, seen)
        return step * strides[0], seen + (kernel[0] - 1) * step

    def _check_local(self, node: NodeProto) -> None:
        match node.op_type:
            case "Transpose":
                fine = integers_attribute(node, "perm", []) == [0, 3, 1, 2] and self.before_pooling is None
            case "Split":
                fine = integers_attribute(node, "axis", [0]) == [1]
            case "Slice":
                fine = self._crops_inwards(node)
            case "Add" | "Mul" | "Max":
                fine = all(name in self.steps or np.prod(self._shapes[name]) == 1 for name in node.input)
            case "Flatten":
                self.flattened += 1
                fine = self._shapes[node.input[0]][2:] == [1, 1]
            case "Gemm":
                fine = self.flattened == 1
            case _:
                fine = False
        if not fine:
            raise DenseError(f"{named(node)} depends on a patch's sides or positions: a dense network does not")

    def _crops_inwards(self, node: NodeProto) -> bool:
        """Whether a crop is counted from both ends, so that it removes as much from a region as from a patch."""
        starts, ends, axes = (stored(self.initializers, node, position).tolist() for position in (1, 2, 3))
        return bool(axes == [2, 3] and min(starts) >= 0 and max(ends) < 0)
