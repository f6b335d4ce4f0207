"""Equalization, ranges and the graph of a folded P4M-DenseNet, as for a MobileNetV2.

Source: Nagel et al. 2019, *Data-Free Quantization Through Weight Equalization and Bias Correction*.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from training.quantize.densenet import DenseBlock, FoldedDenseNet, stored_order
from training.quantize.equalize import Reader, equalize_pairs, rescale
from training.quantize.export import without_border
from training.quantize.folded import Layer
from training.quantize.ranges import INPUT_MEAN, Quantizer, Ranges, output_moments, rectified_mean
from training.quantize.weights import WEIGHT_BOUND
from training.quantize.writers import Kernel, Stream, Writer

MEAN_OF_FOUR = Kernel(np.full((2, 2), WEIGHT_BOUND, np.int8), stride=2)


def _reader(weights: list[Tensor]) -> Reader:
    """Of views of weights […, fields, …] whose second axis is the layer's fields."""

    def scale_inputs(scale: Tensor) -> None:
        for weight in weights:
            weight *= scale[None, :, None]

    return Reader(lambda: torch.stack([weight.abs().amax((0, 2)) for weight in weights]).amax(0), scale_inputs)


def _rectified(network: FoldedDenseNet) -> Iterator[tuple[Layer, Reader]]:
    for block, following in zip(network.blocks, [*network.blocks[1:], None], strict=True):
        yield block.enter, _reader([block.grow.weight])
        grown = block.grow.fields
        weights = (
            [network.class_weight[..., None]] if following is None else [following.enter.weight, following.keep.weight]
        )
        yield block.grow, _reader([weight[:, :grown] for weight in weights])
        yield block.keep, _reader([weight[:, grown:] for weight in weights])


def equalize_densenet(network: FoldedDenseNet) -> int:
    """Equalize each layer and its readers, see :func:`training.quantize.equalize.equalize_pairs`."""
    return equalize_pairs(list(_rectified(network)))


@torch.no_grad()
def rescale_features(network: FoldedDenseNet, quantizer: Quantizer) -> None:
    """Scale the pooled features to the span of a quantizer, and the classifier back; the function does not change."""
    *_, grow, keep = _rectified(network)
    own = Quantizer.spanning(0.0, _span((grow[0], keep[0])))
    for layer, reader in (grow, keep):
        rescale(layer, reader, torch.full_like(layer.bias, own.scale / quantizer.scale))


def _span(layers: tuple[Layer, ...]) -> float:
    """The upper end of the outputs of layers that share a quantizer."""
    return max(output_moments(layer).span()[1] for layer in layers)


@torch.no_grad()
def densenet_ranges(network: FoldedDenseNet, features: Quantizer) -> Ranges:
    """Ranges of six deviations about the mean, and the means for bias correction.

    Args:
        features: of the pooled features, see :func:`rescale_features`.
    """
    quantizers: dict[str, Quantizer] = {}
    means: dict[str, Tensor] = {}
    mean = torch.full((3,), INPUT_MEAN, dtype=torch.float64)
    for block in network.blocks:
        means[block.enter.name] = means[block.keep.name] = mean
        means[block.grow.name] = rectified_mean(output_moments(block.enter))
        quantizers[block.enter.name] = Quantizer.spanning(0.0, _span((block.enter,)))
        last = block is network.blocks[-1]
        shared = features if last else Quantizer.spanning(0.0, _span((block.grow, block.keep)))
        for name in (block.grow.name, block.keep.name, pooled_name(block)):
            quantizers[name] = shared
        mean = torch.cat([rectified_mean(output_moments(layer)) for layer in (block.grow, block.keep)])
    return Ranges(quantizers, means)


def pooled_name(block: DenseBlock) -> str:
    return block.enter.name.replace("enter", "pooled")


def write_densenet_features(writer: Writer, network: FoldedDenseNet) -> tuple[Stream, Tensor]:
    """Write everything before the classifier.

    Returns:
        The pooled features [N, |G|·fields, 1, 1], and the place in group-major order of each of them.
    """
    builder = writer.builder
    x = writer.pixels(builder.node("Transpose", ["patches"], "densenet.pixels", perm=[0, 3, 1, 2]), "densenet.pixels")
    order = None
    for block in network.blocks:
        inner = without_border(builder, x, pooled_name(block) + ".border", f"{x.name}.inner")
        grown = writer.convolve(block.grow, writer.convolve(block.enter, x, order))
        kept = writer.convolve(block.keep, inner, order)
        name = builder.node("Concat", [grown.name, kept.name], pooled_name(block) + ".joined", axis=1)
        order = stored_order(block)
        x = writer.mean(pooled_name(block), Stream(name, kept.quantizer), len(order), MEAN_OF_FOUR)
    assert order is not None
    return x, order
