"""Saturation of int16 sums on CPUs without VNNI: bounds from weights, and convolutions with saturation.

Kernels without VNNI multiply unsigned activations of at most 255 with signed weights and add two neighbouring products
in int16 (``pmaddubsw``): exactly up to 32,767; beyond it they saturate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Pairs:
    """Largest ``255·(|w1| + |w2|)`` over pairs of weights that feed the same output channel.

    Attributes:
        neighbours: over neighbouring weights, at even and odd positions, when filters are read pixel by
            pixel (channels last, as onnxruntime does on x86-64) and channel by channel.
        any_two: over all pairs: an upper bound for any order of the weights.
    """

    neighbours: int
    any_two: int


def pairs(graph: onnx.ModelProto) -> dict[str, Pairs]:
    """Pairs of every convolution and matrix product of a QDQ graph, by the name of its stored tensor.

    Includes depthwise filters, although onnxruntime has kernels without pair sums for them.
    """
    layers = _Layers(graph)
    return {tensor: _pairs(np.abs(layers.weights(node))) for tensor, node in layers.by_tensor.items()}


def _pairs(magnitudes: npt.NDArray[np.int64]) -> Pairs:
    """Pairs of weights [outputs, inputs, ...]."""
    outputs = len(magnitudes)
    orders = [order.reshape(outputs, -1) for order in (magnitudes, np.moveaxis(magnitudes, 1, -1))]
    neighbours = max(int((order[:, :-1] + order[:, 1:]).max(initial=0)) for order in orders)
    two_largest = np.sort(orders[0], axis=1)[:, -2:].sum(1)
    return Pairs(255 * neighbours, 255 * int(two_largest.max(initial=0)))


def convolve(
    graph: onnx.ModelProto, tensor: str, stored: Mapping[str, npt.NDArray[Any]], *, saturating: bool
) -> npt.NDArray[np.uint8] | None:
    """The stored output of a convolution of a QDQ graph, recomputed in integers from its stored input.

    Args:
        tensor: name of the stored tensor of the convolution.
        stored: uint8 tensors by name, [N, C, H, W]; the convolution's input must be among them.
        saturating: saturate sums of two neighbouring products, channels last, at int16; else all sums are exact.

    Returns:
        uint8 [N, C, H, W], or None if the tensor does not come from a convolution of a single group.
    """
    layers = _Layers(graph)
    node = layers.by_tensor.get(tensor)
    attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute} if node else {}
    if node is None or node.op_type != "Conv" or attributes.get("group", 1) != 1:
        return None
    weights = np.moveaxis(layers.weights(node), 1, -1)
    name, in_scale, in_zero = layers.dequantized(node.input[0])
    _, weight_scale, _ = layers.dequantized(node.input[1])
    out_scale, out_zero = layers.quantizer(tensor)
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    down, across = attributes.get("strides", [1, 1])
    padded = np.pad(
        stored[name].astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=in_zero
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[1:3], (2, 3))[:, :, ::down, ::across]
    columns = np.ascontiguousarray(np.moveaxis(windows, 1, -1)).reshape(*np.array(windows.shape)[[0, 2, 3]], -1)
    filters = weights.reshape(len(weights), -1)
    add = _saturated_sum if saturating else np.matmul
    sums = np.stack([add(columns, filter_) - in_zero * filter_.sum() for filter_ in filters], axis=1)
    if len(node.input) > 2:
        sums += layers.constants[layers.dequantized(node.input[2])[0]].astype(np.int64)[:, None, None]
    scale = np.broadcast_to(in_scale * weight_scale / out_scale, len(filters))[:, None, None]
    rounded = np.rint(sums.astype(np.float32) * scale) + out_zero
    return rounded.clip(0, 255).astype(np.uint8)


def _saturated_sum(columns: npt.NDArray[np.int64], filter_: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Σ over pairs of [..., K] · [K], every pair saturated at int16."""
    products = columns * filter_
    if products.shape[-1] % 2:
        products = np.concatenate([products, np.zeros_like(products[..., :1])], axis=-1)
    added = products[..., ::2] + products[..., 1::2]
    total: npt.NDArray[np.int64] = added.clip(INT16.min, INT16.max).sum(-1)
    return total


class _Layers:
    """The convolutions and matrix products of a QDQ graph, by the tensor that each stores."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        nodes = graph.graph.node
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
        self._producers = {name: node for node in nodes for name in node.output}
        stores = {node.input[0]: node.output[0] for node in nodes if node.op_type == "QuantizeLinear"}
        self.by_tensor = {
            stores.get(node.output[0], node.output[0]): node for node in nodes if node.op_type in ("Conv", "Gemm")
        }

    def weights(self, node: onnx.NodeProto) -> npt.NDArray[np.int64]:
        """Stored integers, [outputs, inputs, ...]."""
        weights = self.constants[self.dequantized(node.input[1])[0]].astype(np.int64)
        outputs_first = node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)
        return weights if outputs_first else weights.T

    def dequantized(self, name: str) -> tuple[str, npt.NDArray[np.float32], int]:
        """The stored tensor, scale and zero point of a DequantizeLinear's output."""
        node = self._producers[name]
        zero = self.constants[node.input[2]].max() if len(node.input) > 2 and node.input[2] else 0
        return node.input[0], self.constants[node.input[1]], int(zero)

    def quantizer(self, tensor: str) -> tuple[npt.NDArray[np.float32], int]:
        """Scale and zero point of a stored tensor."""
        node = self._producers[tensor]
        return self.constants[node.input[1]], int(self.constants[node.input[2]])
