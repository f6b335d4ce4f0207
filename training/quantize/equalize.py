"""Cross-layer equalization with one scale per field, and absorption of high biases.

Source: Nagel et al. 2019, sections 4.1.1 (equations 9 to 11) and 4.1.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.quantize.folded import FoldedNetwork, Layer
from training.quantize.weights import SWITCHED_OFF


@dataclass(frozen=True)
class Reader:
    """What reads a layer's rectified output by field.

    Attributes:
        ranges: largest |weight| on each input field, [fields].
        scale_inputs: multiplies the weights on each input field by [fields].
    """

    ranges: Callable[[], Tensor]
    scale_inputs: Callable[[Tensor], None]


@dataclass(frozen=True)
class Consumer(Reader):
    """A convolution or the classifier.

    Attributes:
        absorb: adds the response to a constant input [fields] to the bias.
        padded: whether zero padding makes a constant input not constant.
    """

    absorb: Callable[[Tensor], None]
    padded: bool


def _reader(layer: Layer) -> Consumer:
    def ranges() -> Tensor:
        filters = layer.filters().abs()
        return filters.amax((0, 2, 3, 4, 5)) if layer.depthwise else filters.amax((0, 1, 2, 4, 5))

    def scale_inputs(scale: Tensor) -> None:
        layer.weight *= scale[:, None, None] if layer.depthwise else scale[None, :, None]

    def absorb(constant: Tensor) -> None:
        response = layer.filters()[0].sum((1, 3, 4))
        shift = response[:, 0] * constant if layer.depthwise else response @ constant
        layer.bias += shift

    return Consumer(ranges, scale_inputs, absorb, layer.padding > 0)


def _classifier(network: FoldedNetwork) -> Consumer:
    def scale_inputs(scale: Tensor) -> None:
        network.class_weight *= scale

    def absorb(constant: Tensor) -> None:
        network.class_bias += network.class_weight @ constant

    return Consumer(lambda: network.class_weight.abs().amax(0), scale_inputs, absorb, padded=False)


def rectified_pairs(network: FoldedNetwork) -> Iterator[tuple[Layer, Consumer]]:
    """Each layer with a ReLU whose output has exactly one reader, with that reader.

    The head's reader is the classifier: group maximum and masked mean commute with positive scales
    and with constant shifts, if these are the same over the group.
    """
    first = network.blocks[0]
    if first.expand is None and not first.shortcut:
        yield network.stem, _reader(first.depthwise)
    for block in network.blocks:
        if block.expand is not None:
            yield block.expand, _reader(block.depthwise)
        yield block.depthwise, _reader(block.project)
    if network.head.fields == network.features:
        yield network.head, _classifier(network)


def equalize(network: FoldedNetwork) -> int:
    """Equalize a network's pairs, see :func:`equalize_pairs`."""
    return equalize_pairs(list(rectified_pairs(network)))


@torch.no_grad()
def rescale(layer: Layer, reader: Reader, scale: Tensor) -> None:
    """Divide a layer's fields by ``scale`` [fields] and multiply its reader, in place."""
    layer.weight /= scale[:, None, None]
    for values in (layer.bias, layer.mean, layer.deviation):
        values /= scale
    reader.scale_inputs(scale)


@torch.no_grad()
def equalize_pairs(pairs: Sequence[tuple[Layer, Reader]], tolerance: float = 1e-3, iterations: int = 100) -> int:
    """Equalize the weight ranges of both sides of every pair, in place; the function does not change.

    ``s = sqrt(r1·r2) / r2`` per field; the first layer is divided by it (with its bias, mean and
    deviation), the reader multiplied. Repeated until no scale differs from 1 by more than ``tolerance``.

    Returns:
        The number of iterations.
    """
    iteration, largest = 0, float("inf")
    while largest > tolerance and iteration < iterations:
        iteration, largest = iteration + 1, 0.0
        for layer, reader in pairs:
            r1, r2 = layer.filters().abs().amax((0, 2, 3, 4, 5)), reader.ranges()
            scale = torch.where((r1 > SWITCHED_OFF) & (r2 > SWITCHED_OFF), torch.sqrt(r1 * r2) / r2, 1.0)
            rescale(layer, reader, scale)
            largest = max(largest, (scale - 1).abs().max().item())
    return iteration


@torch.no_grad()
def absorb_high_biases(network: FoldedNetwork) -> int:
    """Move ``c = max(0, β − 3|γ|)`` of each rectified field into its reader's bias, in place.

    Approximate: correct for outputs above ``c``, which are 99.9 % of a normal distribution. Readers with zero
    padding are skipped: their border would need ``−c``.

    Returns:
        The number of fields with ``c > 0``.
    """
    touched = 0
    for layer, reader in rectified_pairs(network):
        constant = (layer.mean - 3 * layer.deviation).clamp(min=0)
        if reader.padded or not constant.any():
            continue
        layer.bias -= constant
        layer.mean -= constant
        reader.absorb(constant)
        touched += int((constant > 0).sum())
    return touched
