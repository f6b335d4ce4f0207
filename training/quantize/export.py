"""Writes a folded network as an ONNX graph: INT8, or its float32 twin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from training.mobilenetv2 import PATCH_PX
from training.quantize.folded import FoldedNetwork, Layer
from training.quantize.graph import GraphBuilder
from training.quantize.ranges import Quantizer, Ranges
from training.quantize.scheme import DEFAULT, Scheme
from training.quantize.weights import WEIGHT_BOUND, corrected_bias, round_filters

GLASS = 255
INPUT = Quantizer(scale=float(np.float32(1) / np.float32(255)), zero_point=0)


def _float32(values: Tensor) -> npt.NDArray[np.float32]:
    return values.numpy().astype(np.float32)


def _convolution_attributes(layer: Layer) -> dict[str, int | list[int]]:
    return {
        "kernel_shape": list(layer.basis.shape[-2:]),
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
        "group": len(layer.group) * layer.fields if layer.depthwise else 1,
    }


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


def _shortcut(builder: GraphBuilder, network: FoldedNetwork, block: int, x: str) -> str:
    """The shortcut of a block; in a dense network without the outermost pixels. Floats or stored uint8."""
    if not network.topology.dense:
        return x
    bounds = {"starts": [1, 1], "ends": [-1, -1], "axes": [2, 3]}
    names = [builder.constant(f"block{block}.{name}", np.array(values, np.int64)) for name, values in bounds.items()]
    return builder.node("Slice", [x, *names], f"block{block}.shortcut")


def _pool_group(builder: GraphBuilder, network: FoldedNetwork, x: str) -> str:
    """Maximum over the group at each pixel, [N, |G|·F, h, w] → [N, F, h, w], of floats or of stored uint8.

    A tree of Split and Max over the channels, because a Reshape would cost two transpositions.
    """
    for factor in prime_factors(len(network.group)):
        parts = builder.split(x, factor, f"{x}.part")
        x = builder.node("Max", parts, f"{x}.max{factor}")
    return x


def prime_factors(number: int) -> list[int]:
    """Prime factors in ascending order."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def _mean_kernel(network: FoldedNetwork) -> tuple[npt.NDArray[np.int8], float]:
    """Pooled positions as stored int8 [side, side], and the scale that makes their sum a mean."""
    stored = network.pooled.numpy().astype(np.int8) * WEIGHT_BOUND
    return stored, 1 / float(stored.sum(dtype=np.int64))


def export_float(network: FoldedNetwork) -> onnx.ModelProto:
    """The float32 twin: the same graph without its Q/DQ pairs."""
    builder = GraphBuilder()
    pixels = builder.node("Cast", [_pixels(builder, network)], "pixels.float", to=onnx.TensorProto.FLOAT)
    x = builder.node("Mul", [pixels, builder.constant("per_grey_level", np.array(INPUT.scale, np.float32))], "scaled")

    def convolve(layer: Layer, x: str) -> str:
        filters = builder.constant(f"{layer.name}.filters", _float32(layer.filters().flatten(2, 3).flatten(0, 1)))
        bias = builder.constant(f"{layer.name}.bias", _float32(layer.bias.repeat(len(layer.group))))
        y = builder.node("Conv", [x, filters, bias], f"{layer.name}.conv", **_convolution_attributes(layer))
        return y if layer.linear else builder.node("Relu", [y], layer.name)

    x = convolve(network.stem, x)
    for i, block in enumerate(network.blocks):
        y = x
        for layer in block.layers():
            y = convolve(layer, y)
        x = builder.node("Add", [_shortcut(builder, network, i, x), y], f"block{i}.sum") if block.shortcut else y
    x = _pool_group(builder, network, convolve(network.head, x))
    stored, scale = _mean_kernel(network)
    kernel = np.tile((stored * scale).astype(np.float32), (network.features, 1, 1, 1))
    x = builder.node("Conv", [x, builder.constant("mean.filters", kernel)], "mean", group=network.features)
    x = builder.node("Flatten", [x], "features")
    weight = builder.constant("classifier.weight", _float32(network.class_weight))
    builder.node(
        "Gemm", [x, weight, builder.constant("classifier.bias", _float32(network.class_bias))], "logits", transB=1
    )
    return builder.model()


class _Int8Writer:
    """Adds quantized layers to a builder; a stream is a stored uint8 tensor and its quantizer."""

    def __init__(self, builder: GraphBuilder, ranges: Ranges, scheme: Scheme) -> None:
        self.builder, self.ranges, self.scheme = builder, ranges, scheme

    def real(self, stored: str, quantizer: Quantizer, reader: str) -> str:
        return self.builder.dequantize(stored, f"{reader}.input.{stored}", quantizer)

    def bias(self, name: str, bias: Tensor, scale: Tensor) -> str:
        stored = (bias / scale).round().clamp(-(2**31), 2**31 - 1).numpy().astype(np.int32)
        return self.builder.integers(name, stored, _float32(scale))

    def convolve(self, layer: Layer, stored: str, source: Quantizer) -> tuple[str, Quantizer]:
        copies = len(layer.group)
        rounded = round_filters(layer, self.scheme.bound, field_scales=self.scheme.field_scales)
        input_mean = self.ranges.input_means[layer.name]
        bias = corrected_bias(layer, rounded, input_mean) if self.scheme.correct_bias else layer.bias
        values = rounded.values.flatten(2, 3).flatten(0, 1).numpy().astype(np.int8)
        filters = self.builder.integers(f"{layer.name}.filters", values, _float32(rounded.scale.repeat(copies)))
        bias_scale = rounded.scale * float(np.float32(source.scale))
        stored_bias = self.bias(f"{layer.name}.bias", bias.repeat(copies), bias_scale.repeat(copies))
        x = self.real(stored, source, layer.name)
        y = self.builder.node("Conv", [x, filters, stored_bias], f"{layer.name}.conv", **_convolution_attributes(layer))
        target = self.ranges.quantizers[layer.name]
        return self.builder.quantize(y, layer.name, target), target

    def add(self, name: str, stream: str, branch: str, quantizer: Quantizer) -> str:
        terms = [self.real(stored, quantizer, name) for stored in (stream, branch)]
        return self.builder.quantize(self.builder.node("Add", terms, f"{name}.real"), name, quantizer)

    def mean(self, network: FoldedNetwork, stored: str, source: Quantizer) -> tuple[str, Quantizer]:
        fields = network.features
        kernel, scale = _mean_kernel(network)
        filters = self.builder.integers(
            "mean.filters", np.tile(kernel, (fields, 1, 1, 1)), np.full(fields, scale, np.float32)
        )
        y = self.builder.node("Conv", [self.real(stored, source, "mean"), filters], "mean.conv", group=fields)
        target = self.ranges.quantizers["mean"]
        return self.builder.quantize(y, "mean", target), target

    def classify(self, network: FoldedNetwork, stored: str, source: Quantizer) -> None:
        # Flatten precedes the DequantizeLinear, otherwise the head remains a float Gemm.
        x = self.real(self.builder.node("Flatten", [stored], "features"), source, "classifier")
        bound, largest = self.scheme.bound, network.class_weight.abs().amax(1)
        if not self.scheme.field_scales:
            largest = largest.max().expand_as(largest)
        scale = (largest / bound).float().double()
        values = (network.class_weight / scale[:, None]).round().clamp(-bound, bound)
        weight = self.builder.integers("classifier.weight", values.numpy().astype(np.int8), _float32(scale))
        bias = self.bias("classifier.bias", network.class_bias, scale * float(np.float32(source.scale)))
        self.builder.node("Gemm", [x, weight, bias], "logits", transB=1)


@torch.no_grad()
def export_int8(network: FoldedNetwork, ranges: Ranges, scheme: Scheme = DEFAULT) -> onnx.ModelProto:
    """The INT8 graph: QDQ in the standard domain, every quantization parameter tied over a field."""
    builder = GraphBuilder()
    writer = _Int8Writer(builder, ranges, scheme)
    x, quantizer = writer.convolve(network.stem, _pixels(builder, network), INPUT)
    for i, (block, stream) in enumerate(zip(network.blocks, ranges.streams, strict=True)):
        y, inner = x, quantizer
        for layer in block.layers():
            y, inner = writer.convolve(layer, y, inner)
        if block.shortcut:
            y = writer.add(f"block{i}.sum", _shortcut(builder, network, i, x), y, stream)
        x, quantizer = y, stream
    x, quantizer = writer.convolve(network.head, x, quantizer)
    x, quantizer = writer.mean(network, _pool_group(builder, network, x), quantizer)
    writer.classify(network, x, quantizer)
    return builder.model()
