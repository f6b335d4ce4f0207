"""The shapes in an artifact's graph: known and bounded, with their cost."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker

from model_zoo.graphs import shapes_of
from model_zoo.proof import RefusedError
from model_zoo.turns import SIDE

MAX_VALUES_PER_TENSOR = 2**22
MAX_VALUES_PER_PATCH = 2**26
MAX_PRODUCTS_PER_PATCH = 2**31


def check_shapes(model: ModelProto) -> str:
    """uint8 ``patches`` [N, 96, 96, 3] → float32 ``logits`` [N, 2], all intermediate shapes known and bounded."""
    _check_port("input", model.graph.input, "patches", TensorProto.UINT8, [SIDE, SIDE, 3])
    _check_port("output", model.graph.output, "logits", TensorProto.FLOAT, [2])
    checker.check_model(model, full_check=True)
    for name, dims in shapes_of(model).items():
        if not dims or not all(dims[1:] if not dims[0] else dims):
            raise RefusedError(f"the shape of {name!r} cannot be inferred: only the first dimension may be free")
    one_patch = ModelProto()
    one_patch.CopyFrom(model)
    for port in (*one_patch.graph.input, *one_patch.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    shapes = shapes_of(one_patch)
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


def _products(node: NodeProto, shapes: dict[str, list[int]]) -> int:
    """The number of multiplications of a node for one patch."""
    if node.op_type not in ("Conv", "Gemm"):
        return 0
    weights = shapes[node.input[1]]
    return prod(shapes[node.output[0]]) * prod(weights[1:]) if node.op_type == "Conv" else prod(weights)
