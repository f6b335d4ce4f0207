"""The folded P4M-DenseNet: batch norms in the convolutions before them, means over pixels before those after them.

A field of a DenseNet is read through two batch norms: by the next dense layer and by the next transition. The
convolution that makes it is therefore written twice, once with each batch norm, so that only rectified fields are
stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.batchnorm import FieldBatchNorm
from training.densenet import BLOCKS, GROUP, GROWTH_FIELDS, NormActConv, P4MDenseNet, concatenate
from training.layers import EquivariantConv
from training.quantize.folded import Layer


@dataclass
class DenseBlock:
    """``concatenate(grow(enter(x)), keep(x without its outermost pixels))``, then means over 2×2 pixels."""

    enter: Layer
    grow: Layer
    keep: Layer


@dataclass
class FoldedDenseNet:
    """The same function as the :class:`P4MDenseNet` that was folded."""

    blocks: list[DenseBlock]
    class_weight: Tensor
    class_bias: Tensor

    def features(self, x: Tensor) -> Tensor:
        """Patches [N, 3, 96, 96] in [0, 1] → features [N, |G|·fields], in the precision of ``x``."""
        for block in self.blocks:
            grown = block.grow.forward(block.enter.forward(x))
            joined = concatenate(grown, block.keep.forward(x[..., 1:-1, 1:-1]))
            x = F.avg_pool2d(joined, 2)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2], in the precision of ``x``."""
        return self.features(x) @ self.channel_weight().to(x.dtype).T + self.class_bias.to(x.dtype)

    def channel_weight(self) -> Tensor:
        """The classifier's weights on group-major channels, [2, |G|·fields]: equal over a field."""
        return self.class_weight.repeat(1, len(GROUP))


def stored_order(block: DenseBlock) -> Tensor:
    """For each channel of the plain concatenation of ``grow`` and ``keep``, its place in group-major order."""
    grown, kept = block.grow.fields, block.keep.fields
    place = torch.arange(len(GROUP) * (grown + kept)).view(len(GROUP), -1)
    return torch.cat([place[:, :grown].flatten(), place[:, grown:].flatten()])


@torch.no_grad()
def fold_densenet(network: P4MDenseNet) -> FoldedDenseNet:
    """Fold a network in evaluation mode."""
    blocks = []
    for i in range(BLOCKS):
        dense, after = network.dense[i], network.transition[i] if i < BLOCKS - 1 else network.head
        before = network.stem if i == 0 else network.transition[i - 1].convolution
        assert isinstance(dense, NormActConv)
        assert isinstance(after, NormActConv)
        assert isinstance(before, EquivariantConv)
        grown, kept = slice(None, GROWTH_FIELDS), slice(GROWTH_FIELDS, None)
        block = DenseBlock(
            enter=_fold(f"densenet.block{i}.enter", before, dense.norm),
            grow=_fold(f"densenet.block{i}.grow", dense.convolution, after.norm, grown),
            keep=_fold(f"densenet.block{i}.keep", before, after.norm, kept),
        )
        blocks.append(block)
    for layer in (blocks[0].enter, blocks[0].keep):
        _read_grey_levels(layer, network.mean.double(), network.std.double())
    # The head is 1×1 and its logits are means over the group: each field has one weight for each class.
    per_field = network.head.convolution.weight.double() @ network.head.convolution.basis.double().sum((2, 3, 4)).mean(
        1, keepdim=True
    )
    return FoldedDenseNet(blocks, per_field[..., 0] / len(GROUP), torch.zeros(2, dtype=torch.float64))


def _fold(name: str, convolution: EquivariantConv, norm: FieldBatchNorm, fields: slice = slice(None)) -> Layer:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps))[fields]
    return Layer(
        name=name,
        group=convolution.group,
        weight=convolution.weight.double() * scale[:, None, None],
        basis=convolution.basis.double(),
        bias=norm.bias.double()[fields] - norm.running_mean.double()[fields] * scale,
        mean=norm.bias.double()[fields].clone(),
        deviation=norm.weight.double().abs()[fields],
        stride=convolution.stride,
        padding=convolution.padding,
        depthwise=False,
        linear=False,
    )


def _read_grey_levels(layer: Layer, mean: Tensor, std: Tensor) -> None:
    """Move the standardization of the pixels into a layer that reads them."""
    layer.weight = layer.weight / std[None, :, None]
    response = layer.filters()[0].sum((1, 3, 4))
    layer.bias = layer.bias - response @ mean
