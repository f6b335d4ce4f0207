"""Writes a folded MobileNetV2 as an ONNX graph: INT8, or its float32 twin."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from training.mobilenetv2 import PATCH_PX
from training.quantize.folded import FoldedNetwork
from training.quantize.graph import GraphBuilder
from training.quantize.ranges import Ranges
from training.quantize.scheme import DEFAULT, Scheme
from training.quantize.weights import WEIGHT_BOUND
from training.quantize.writers import FloatWriter, Int8Writer, Kernel, Stream, Writer

GLASS = 255


def _pixels(builder: GraphBuilder, network: FoldedNetwork) -> str:
    """The patch as uint8 [N, 3, H, H]; unless the network is dense, everything outside the disc is set to glass.

    A topology that crops gets a Slice, which artifacts may not have: its answers change when the patch is turned.
    """
    patches, side = "patches", network.topology.crop_px
    if side != PATCH_PX:
        bounds = {"starts": [0, 0], "ends": [side, side], "axes": [1, 2]}
        names = [builder.constant(f"crop.{name}", np.array(values, np.int64)) for name, values in bounds.items()]
        patches = builder.node("Slice", [patches, *names], "crop")
    if network.topology.dense:
        return builder.node("Transpose", [patches], "pixels", perm=[0, 3, 1, 2])
    # The mask is stored for all three channels: broadcasting over the last axis costs 0.25 ms a patch.
    outside = np.where(network.input_disc.numpy()[None, :, :, None], 0, GLASS).astype(np.uint8)
    glass = builder.constant("glass", np.repeat(outside, 3, axis=3))
    masked = builder.node("Max", [patches, glass], "masked")
    return builder.node("Transpose", [masked], "pixels", perm=[0, 3, 1, 2])


def without_border(builder: GraphBuilder, x: Stream, name: str, output: str) -> Stream:
    """A stream [N, C, H, W] without its outermost pixels; ``name`` names the bounds."""
    bounds = {"starts": [1, 1], "ends": [-1, -1], "axes": [2, 3]}
    names = [builder.constant(f"{name}.{each}", np.array(values, np.int64)) for each, values in bounds.items()]
    return Stream(builder.node("Slice", [x.name, *names], output), x.quantizer)


def _shortcut(builder: GraphBuilder, network: FoldedNetwork, block: int, x: Stream) -> Stream:
    """The shortcut of a block; in a dense network without the outermost pixels."""
    if not network.topology.dense:
        return x
    return without_border(builder, x, f"block{block}", f"block{block}.shortcut")


def _pool_group(builder: GraphBuilder, network: FoldedNetwork, x: Stream) -> Stream:
    """Maximum over the group at each pixel, [N, |G|·F, h, w] → [N, F, h, w], of floats or of stored uint8.

    A tree of Split and Max over the channels, because a Reshape would cost two transpositions.
    """
    name = x.name
    for factor in prime_factors(len(network.group)):
        parts = builder.split(name, factor, f"{name}.part")
        name = builder.node("Max", parts, f"{name}.max{factor}")
    return Stream(name, x.quantizer)


def prime_factors(number: int) -> list[int]:
    """Prime factors in ascending order."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def write_features(writer: Writer, network: FoldedNetwork) -> Stream:
    """Write everything before the classifier; returns the pooled features [N, F, 1, 1]."""
    builder = writer.builder
    x = writer.convolve(network.stem, writer.pixels(_pixels(builder, network), "pixels"))
    for i, block in enumerate(network.blocks):
        y = x
        for layer in block.layers():
            y = writer.convolve(layer, y)
        x = writer.add(f"block{i}.sum", _shortcut(builder, network, i, x), y) if block.shortcut else y
    x = _pool_group(builder, network, writer.convolve(network.head, x))
    pooled = Kernel(network.pooled.numpy().astype(np.int8) * WEIGHT_BOUND)
    return writer.mean("mean", x, network.features, pooled)


def _export(writer: Writer, network: FoldedNetwork) -> onnx.ModelProto:
    writer.classify(write_features(writer, network), network.class_weight, network.class_bias)
    return writer.builder.model()


def export_float(network: FoldedNetwork) -> onnx.ModelProto:
    """The float32 twin: the same graph without its Q/DQ pairs."""
    return _export(FloatWriter(GraphBuilder()), network)


@torch.no_grad()
def export_int8(network: FoldedNetwork, ranges: Ranges, scheme: Scheme = DEFAULT) -> onnx.ModelProto:
    """The INT8 graph."""
    return _export(Int8Writer(GraphBuilder(), ranges, scheme), network)
