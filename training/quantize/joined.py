"""Quantizes two networks into one graph that adds their logits: a MobileNetV2 and a P4M-DenseNet.

Both read the same patch. Their pooled features share a quantizer and one classifier, so that all arithmetic stays
integer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from training.densenet import P4MDenseNet
from training.mobilenetv2 import MobileNetV2
from training.quantize.densenet import FoldedDenseNet, fold_densenet
from training.quantize.densenet_steps import (
    densenet_ranges,
    equalize_densenet,
    rescale_features,
    write_densenet_features,
)
from training.quantize.equalize import equalize
from training.quantize.export import write_features
from training.quantize.folded import FoldedNetwork, fold
from training.quantize.graph import GraphBuilder
from training.quantize.pipeline import Figures, Graphs, QuantizationError, checked_deltas
from training.quantize.ranges import Ranges, data_free_ranges
from training.quantize.scheme import DEFAULT
from training.quantize.writers import FloatWriter, Int8Writer, Stream, Writer


@dataclass
class JoinedNetwork:
    """``(first + factor · second) / 2``, layer by layer.

    Attributes:
        factor: multiplies the second network's logits.
    """

    first: FoldedNetwork
    second: FoldedDenseNet
    factor: float

    def forward(self, x: Tensor) -> Tensor:
        """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2], in the precision of ``x``."""
        return (self.first.forward(x) + self.factor * self.second.forward(x)) / 2


@torch.no_grad()
def quantize_joined(first: MobileNetV2, second: P4MDenseNet, factor: float, probes: npt.NDArray[np.uint8]) -> Graphs:
    """Quantize two networks without data; ``probes`` only measure changes.

    Args:
        first, second: in evaluation mode.
        factor: multiplies the second network's logits; the mean of both is the answer.
        probes: uint8 [N, 96, 96, 3]; patches for the figures.

    Raises:
        QuantizationError: if folding and equalization change a logit, see :func:`training.quantize.pipeline.quantize`,
            or one network's share is too small for its weights.
    """
    x = torch.from_numpy(probes).permute(0, 3, 1, 2).double() / 255
    original = (first(x.float()) + factor * second(x.float())) / 2
    joined = JoinedNetwork(fold(first), fold_densenet(second), factor)
    reference = joined.forward(x)
    iterations = max(equalize(joined.first), equalize_densenet(joined.second))
    ranges = data_free_ranges(joined.first)
    features = ranges.quantizers["mean"]
    rescale_features(joined.second, features)
    _check_shares(joined)
    delta32, delta64 = checked_deltas(joined, x, original, reference)
    figures = Figures(len(probes), iterations, delta32, delta64, 0, 0.0)
    both = _together(ranges, densenet_ranges(joined.second, features))
    return Graphs(
        _export(Int8Writer(GraphBuilder(), both, DEFAULT), joined),
        _export(FloatWriter(GraphBuilder()), joined),
        figures,
    )


def _check_shares(network: JoinedNetwork) -> None:
    """Both networks' features share one classifier, in which small weights round to zero."""
    second = network.factor * network.second.channel_weight()
    largest = torch.stack([weight.abs().amax(1) for weight in (network.first.class_weight, second)])
    levels = DEFAULT.bound * largest / largest.amax(0)
    if float(levels.amax(1).min()) < 0.5:
        raise QuantizationError(
            "one network's share is so small that its weights in the classifier round to zero: "
            "join the networks again with a --weight nearer to 1"
        )


def _together(first: Ranges, second: Ranges) -> Ranges:
    return Ranges(first.quantizers | second.quantizers, first.input_means | second.input_means)


def _export(writer: Writer, network: JoinedNetwork) -> onnx.ModelProto:
    first = write_features(writer, network.first)
    second, order = write_densenet_features(writer, network.second)
    features = writer.builder.node("Concat", [first.name, second.name], "joined", axis=1)
    added = network.factor * network.second.channel_weight()[:, order]
    weight = torch.cat([network.first.class_weight, added], dim=1) / 2
    bias = (network.first.class_bias + network.factor * network.second.class_bias) / 2
    writer.classify(Stream(features, first.quantizer), weight, bias)
    return writer.builder.model()
