"""Activation ranges and bias correction from batch-norm statistics only.

Source: Nagel et al. 2019, sections 4.2.1 (bias correction) and 5 (ranges of six deviations).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.quantize.folded import FoldedNetwork, Layer

DEVIATIONS = 6.0
INPUT_MEAN = 0.65  # mean grey level of a stained section; similar in all data sets
LEVELS = 255


@dataclass(frozen=True)
class Quantizer:
    """Affine uint8: ``real = scale · (stored − zero_point)``."""

    scale: float
    zero_point: int

    @staticmethod
    def spanning(low: float, high: float) -> Quantizer:
        """The quantizer that spans ``[low, high]`` and represents zero exactly."""
        low, high = min(low, 0.0), max(high, 1e-6)
        scale = (high - low) / LEVELS
        return Quantizer(scale, round(-low / scale))


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a tensor, per field."""

    mean: Tensor
    variance: Tensor

    def span(self) -> tuple[float, float]:
        reach = DEVIATIONS * self.variance.sqrt()
        return (self.mean - reach).min().item(), (self.mean + reach).max().item()


def output_moments(layer: Layer) -> Moments:
    """Moments of the layer's outputs before its ReLU."""
    return Moments(layer.mean, layer.deviation**2)


def rectified_mean(moments: Moments) -> Tensor:
    """Mean of ``max(0, x)`` for normal x, per field."""
    deviation = moments.variance.sqrt().clamp(min=1e-12)
    z = moments.mean / deviation
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return moments.mean * torch.special.ndtr(z) + deviation * density


@dataclass(frozen=True)
class Ranges:
    """Quantizers and means of all tensors.

    Attributes:
        quantizers: of each layer's output by the layer's name, of each ``block{i}.sum``, and of the masked ``mean``;
            shared over a residual stage.
        input_means: mean of each layer's input per field, by name.
    """

    quantizers: dict[str, Quantizer]
    input_means: dict[str, Tensor]


def ranges_from(
    network: FoldedNetwork, spans: Mapping[str, tuple[float, float]], input_means: dict[str, Tensor]
) -> Ranges:
    """Quantizers for these spans; all tensors of a residual stage share the widest.

    Args:
        spans: least and greatest value of each layer's output and of each ``block{i}.sum``, by name.
        input_means: mean of each layer's input per field, by name.

    Raises:
        ValueError: if the first block has a shortcut: the stem's rectified output cannot share the signed
            quantizer of a residual stage.
    """
    if network.blocks[0].shortcut:
        raise ValueError("the first block has a shortcut: give the stem and the first stage different channels")
    rectified = [layer.name for layer in network.layers() if not layer.linear]
    quantizers = {name: Quantizer.spanning(0.0, spans[name][1]) for name in rectified}
    quantizers["mean"] = quantizers[network.head.name]

    stages: list[list[tuple[float, float]]] = []
    for i, block in enumerate(network.blocks):
        if not block.shortcut:
            stages.append([])
        stages[-1] += [spans[name] for name in (block.project.name, f"block{i}.sum") if name in spans]
    shared = [Quantizer.spanning(min(low for low, _ in stage), max(high for _, high in stage)) for stage in stages]
    stage = -1
    for i, block in enumerate(network.blocks):
        stage += not block.shortcut
        quantizers[block.project.name] = quantizers[f"block{i}.sum"] = shared[stage]
    return Ranges(quantizers, input_means)


def data_free_ranges(network: FoldedNetwork) -> Ranges:
    """Ranges of six deviations about the mean, and the means for bias correction.

    Raises:
        ValueError: as :func:`ranges_from`.
    """
    spans: dict[str, tuple[float, float]] = {}
    input_means = {network.stem.name: torch.full((network.stem.weight.shape[1],), INPUT_MEAN, dtype=torch.float64)}

    def rectified(layer: Layer) -> Tensor:
        moments = output_moments(layer)
        spans[layer.name] = moments.span()
        return rectified_mean(moments)

    mean = rectified(network.stem)
    stream = Moments(mean, torch.zeros_like(mean))
    for i, block in enumerate(network.blocks):
        mean = stream.mean
        for layer in block.layers()[:-1]:
            input_means[layer.name] = mean
            mean = rectified(layer)
        input_means[block.project.name] = mean
        projected = output_moments(block.project)
        spans[block.project.name] = projected.span()
        if block.shortcut:
            stream = Moments(stream.mean + projected.mean, stream.variance + projected.variance)
            spans[f"block{i}.sum"] = stream.span()
        else:
            stream = projected
    input_means[network.head.name] = stream.mean
    rectified(network.head)
    return ranges_from(network, spans, input_means)
