"""Two writers with the same methods, so that one walk over a network gives its INT8 graph and its float32 twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor

from training.quantize.folded import Layer
from training.quantize.graph import GraphBuilder
from training.quantize.ranges import Quantizer, Ranges
from training.quantize.scheme import Scheme
from training.quantize.weights import corrected_bias, round_filters

INPUT = Quantizer(scale=float(np.float32(1) / np.float32(255)), zero_point=0)


@dataclass(frozen=True)
class Stream:
    """A tensor in the graph: stored uint8 with its quantizer, or floats without one."""

    name: str
    quantizer: Quantizer | None = None

    @property
    def stored(self) -> Quantizer:
        assert self.quantizer is not None
        return self.quantizer


@dataclass(frozen=True)
class Kernel:
    """A mean over pixels as stored int8 [h, w] and the scale that makes their sum a mean."""

    stored: npt.NDArray[np.int8]
    stride: int = 1

    @property
    def scale(self) -> float:
        return 1 / float(self.stored.sum(dtype=np.int64))


class Writer(Protocol):
    """Adds layers to a builder; every method returns the stream of its output."""

    builder: GraphBuilder

    def pixels(self, source: str, name: str) -> Stream:
        """Read uint8 pixels [N, 3, H, W]."""

    def convolve(self, layer: Layer, x: Stream, order: Tensor | None = None) -> Stream:
        """A convolution and its ReLU; ``order`` holds the place of each of the input's channels in the layer's."""

    def add(self, name: str, first: Stream, second: Stream) -> Stream:
        """The sum of two streams."""

    def mean(self, name: str, x: Stream, channels: int, kernel: Kernel) -> Stream:
        """A mean over pixels, of each channel."""

    def classify(self, features: Stream, weight: Tensor, bias: Tensor) -> None:
        """Logits from features [N, F, …] by weights [2, F] and biases [2]."""


def float32(values: Tensor) -> npt.NDArray[np.float32]:
    return values.numpy().astype(np.float32)


def _attributes(layer: Layer) -> dict[str, int | list[int]]:
    return {
        "kernel_shape": list(layer.basis.shape[-2:]),
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
        "group": len(layer.group) * layer.fields if layer.depthwise else 1,
    }


def _stride(kernel: Kernel) -> dict[str, list[int]]:
    return {} if kernel.stride == 1 else {"strides": [kernel.stride] * 2}


def _plain(filters: Tensor, order: Tensor | None) -> Tensor:
    """Filters by field as those of a plain convolution, the input's channels in ``order``."""
    plain = filters.flatten(2, 3).flatten(0, 1)
    return plain if order is None else plain[:, order]


class FloatWriter:
    """Writes layers in float32."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    def pixels(self, source: str, name: str) -> Stream:
        floats = self.builder.node("Cast", [source], f"{name}.float", to=onnx.TensorProto.FLOAT)
        factor = self.builder.constant(f"{name}.per_grey_level", np.array(INPUT.scale, np.float32))
        return Stream(self.builder.node("Mul", [floats, factor], f"{name}.scaled"))

    def convolve(self, layer: Layer, x: Stream, order: Tensor | None = None) -> Stream:
        filters = self.builder.constant(f"{layer.name}.filters", float32(_plain(layer.filters(), order)))
        bias = self.builder.constant(f"{layer.name}.bias", float32(layer.bias.repeat(len(layer.group))))
        y = self.builder.node("Conv", [x.name, filters, bias], f"{layer.name}.conv", **_attributes(layer))
        return Stream(y if layer.linear else self.builder.node("Relu", [y], layer.name))

    def add(self, name: str, first: Stream, second: Stream) -> Stream:
        return Stream(self.builder.node("Add", [first.name, second.name], name))

    def mean(self, name: str, x: Stream, channels: int, kernel: Kernel) -> Stream:
        filters = np.tile((kernel.stored * kernel.scale).astype(np.float32), (channels, 1, 1, 1))
        stored = self.builder.constant(f"{name}.filters", filters)
        return Stream(self.builder.node("Conv", [x.name, stored], name, group=channels, **_stride(kernel)))

    def classify(self, features: Stream, weight: Tensor, bias: Tensor) -> None:
        x = self.builder.node("Flatten", [features.name], "features")
        stored = self.builder.constant("classifier.weight", float32(weight))
        biases = self.builder.constant("classifier.bias", float32(bias))
        self.builder.node("Gemm", [x, stored, biases], "logits", transB=1)


class Int8Writer:
    """Writes quantized layers: QDQ in the standard domain, every quantization parameter tied over a field."""

    def __init__(self, builder: GraphBuilder, ranges: Ranges, scheme: Scheme) -> None:
        self.builder, self.ranges, self.scheme = builder, ranges, scheme

    def pixels(self, source: str, name: str) -> Stream:
        return Stream(source, INPUT)

    def convolve(self, layer: Layer, x: Stream, order: Tensor | None = None) -> Stream:
        copies = len(layer.group)
        rounded = round_filters(layer, self.scheme.bound, field_scales=self.scheme.field_scales)
        input_mean = self.ranges.input_means[layer.name]
        bias = corrected_bias(layer, rounded, input_mean) if self.scheme.correct_bias else layer.bias
        values = _plain(rounded.values, order).numpy().astype(np.int8)
        filters = self.builder.integers(f"{layer.name}.filters", values, float32(rounded.scale.repeat(copies)))
        bias_scale = rounded.scale * float(np.float32(x.stored.scale))
        stored_bias = self._bias(f"{layer.name}.bias", bias.repeat(copies), bias_scale.repeat(copies))
        real = self._real(x, layer.name)
        y = self.builder.node("Conv", [real, filters, stored_bias], f"{layer.name}.conv", **_attributes(layer))
        return self._quantize(y, layer.name)

    def add(self, name: str, first: Stream, second: Stream) -> Stream:
        terms = [self._real(x, name) for x in (first, second)]
        return self._quantize(self.builder.node("Add", terms, f"{name}.real"), name)

    def mean(self, name: str, x: Stream, channels: int, kernel: Kernel) -> Stream:
        filters = self.builder.integers(
            f"{name}.filters",
            np.tile(kernel.stored, (channels, 1, 1, 1)),
            np.full(channels, kernel.scale, np.float32),
        )
        y = self.builder.node("Conv", [self._real(x, name), filters], f"{name}.conv", group=channels, **_stride(kernel))
        return self._quantize(y, name)

    def classify(self, features: Stream, weight: Tensor, bias: Tensor) -> None:
        # Flatten precedes the DequantizeLinear, otherwise the head remains a float Gemm.
        flat = Stream(self.builder.node("Flatten", [features.name], "features"), features.quantizer)
        x = self._real(flat, "classifier")
        bound, largest = self.scheme.bound, weight.abs().amax(1)
        if not self.scheme.field_scales:
            largest = largest.max().expand_as(largest)
        scale = (largest / bound).float().double()
        values = (weight / scale[:, None]).round().clamp(-bound, bound)
        stored = self.builder.integers("classifier.weight", values.numpy().astype(np.int8), float32(scale))
        biases = self._bias("classifier.bias", bias, scale * float(np.float32(features.stored.scale)))
        self.builder.node("Gemm", [x, stored, biases], "logits", transB=1)

    def _real(self, x: Stream, reader: str) -> str:
        return self.builder.dequantize(x.name, f"{reader}.input.{x.name}", x.stored)

    def _quantize(self, source: str, name: str) -> Stream:
        target = self.ranges.quantizers[name]
        return Stream(self.builder.quantize(source, name, target), target)

    def _bias(self, name: str, bias: Tensor, scale: Tensor) -> str:
        stored = (bias / scale).round().clamp(-(2**31), 2**31 - 1).numpy().astype(np.int32)
        return self.builder.integers(name, stored, float32(scale))
