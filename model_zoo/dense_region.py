"""The graph of a dense artifact for regions of any size."""

from __future__ import annotations

from onnx import ModelProto

from model_zoo.artifact import parse_model
from model_zoo.dense import DenseError, region_graph
from model_zoo.proof import RefusedError


def any_region(data: bytes, side: int) -> bytes:
    """A serialized model: patches, uint8 [N, height, width, 3], to logits, float32 [N · rows · columns, 2].

    Args:
        data: a dense artifact's bytes.
        side: a region for which the graph is valid, in pixels.

    Raises:
        RefusedError: if the graph is not dense.
    """
    try:
        model = region_graph(parse_model(data), side, side)
    except DenseError as error:
        raise RefusedError(f"the graph is not dense: {error}") from error
    return _of_any_size(model).SerializeToString()


def _of_any_size(region: ModelProto) -> ModelProto:
    """A region's graph for regions of other sizes: logits [N · rows · columns, 2]."""
    for dim, name in zip(region.graph.input[0].type.tensor_type.shape.dim, ("N", "height", "width"), strict=False):
        dim.dim_param = name
    del region.graph.value_info[:]
    reshape, gemm = region.graph.node.pop(), region.graph.node[-1]
    gemm.output[0] = reshape.output[0]
    dims = region.graph.output[0].type.tensor_type.shape.dim
    del dims[1:-1]
    dims[0].dim_param = "windows"
    return region
