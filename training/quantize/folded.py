"""The network with folded batch norms in float64, the input of quantization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.symmetry import Group
from training.layers import project_exactly
from training.mobilenetv2 import ConvNormAct, InvertedResidual, MobileNetV2, Topology, cropped


@dataclass
class Layer:
    """A convolution with bias and, unless ``linear``, a ReLU, on fields.

    Attributes:
        weight: float64 [out fields, in fields (1 if depthwise), basis dimension].
        basis: float64 [basis dimension, |G| out, |G| or 1 in, k, k].
        bias: float64 [out fields].
        mean: mean of the outputs before the ReLU, [out fields]: the batch norm's β.
        deviation: their standard deviation, [out fields]: the batch norm's |γ|.
    """

    name: str
    group: Group
    weight: Tensor
    basis: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor
    stride: int
    padding: int
    depthwise: bool
    linear: bool

    @property
    def fields(self) -> int:
        return len(self.bias)

    @property
    def in_fields(self) -> int:
        return self.fields if self.depthwise else self.weight.shape[1]

    def spread(self) -> Tensor:
        """Filters by field, expanded by the basis: [|G|, out fields, |G| or 1, in fields or 1, k, k]."""
        return torch.einsum("oib,bghyx->gohiyx", self.weight, self.basis)

    def filters(self) -> Tensor:
        """Filters by field: [|G|, out fields, |G| or 1, in fields or 1, k, k], exact under the exact subgroup."""
        spread = self.spread()
        if self.basis.shape[2] == 1:
            by_group = spread.permute(1, 2, 3, 0, 4, 5)
            return project_exactly(by_group, self.group).permute(3, 0, 1, 2, 4, 5)
        if self.basis.shape[-1] > 1:
            return spread  # free filters: each value is one weight, so its copies are exact
        relative = torch.tensor(self.group.relative)
        return spread[0][:, relative].permute(1, 0, 2, 3, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, |G|·in fields, H, W] → [N, |G|·out fields, H', W'], in the precision of ``x``."""
        filters = self.filters().flatten(2, 3).flatten(0, 1).to(x.dtype)
        bias = self.bias.repeat(len(self.group)).to(x.dtype)
        groups = len(self.group) * self.fields if self.depthwise else 1
        y = F.conv2d(x, filters, bias, self.stride, self.padding, groups=groups)
        return y if self.linear else y.relu()


@dataclass
class Block:
    """An inverted residual."""

    expand: Layer | None
    depthwise: Layer
    project: Layer
    shortcut: bool

    def layers(self) -> tuple[Layer, ...]:
        return (self.depthwise, self.project) if self.expand is None else (self.expand, self.depthwise, self.project)


@dataclass
class FoldedNetwork:
    """The whole network; the same function as the :class:`MobileNetV2` that was folded."""

    topology: Topology
    stem: Layer
    blocks: list[Block]
    head: Layer
    class_weight: Tensor
    class_bias: Tensor
    input_disc: Tensor
    pooled: Tensor

    @property
    def group(self) -> Group:
        return Group.parse(self.topology.group)

    @property
    def features(self) -> int:
        """The number of pooled features."""
        return self.class_weight.shape[1]

    def layers(self) -> Iterator[Layer]:
        yield self.stem
        for block in self.blocks:
            yield from block.layers()
        yield self.head

    def forward(self, x: Tensor) -> Tensor:
        """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2], in the precision of ``x``."""
        for _, tensor in self.tensors(x):
            x = tensor
        return x

    def tensors(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Every tensor from patches [N, 3, 96, 96] in [0, 1] to logits [N, 2], by its name in the graphs.

        Each layer reads the tensor before its own.
        """
        side, dense = self.topology.crop_px, self.topology.dense
        x = x[..., :side, :side]
        if not dense:
            x = torch.where(self.input_disc, x, 1.0)
        yield "pixels", x
        x = self.stem.forward(x)
        yield self.stem.name, x
        for i, block in enumerate(self.blocks):
            y = x
            for layer in block.layers():
                y = layer.forward(y)
                yield layer.name, y
            if block.shortcut:
                x = (cropped(x) if dense else x) + y
                yield f"block{i}.sum", x
            else:
                x = y
        x = self.head.forward(x)
        yield self.head.name, x
        x = x.unflatten(1, (len(self.group), -1)).amax(1)
        inside = self.pooled.to(x.dtype)
        features = (x * inside).sum((2, 3)) / inside.sum()
        yield "mean", features
        yield "logits", features @ self.class_weight.to(x.dtype).T + self.class_bias.to(x.dtype)


def _fold_layer(name: str, unit: ConvNormAct) -> Layer:
    convolution, norm = unit.convolution, unit.norm
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{name}: its batch norm tracks no running statistics, so it cannot be folded")
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return Layer(
        name=name,
        group=convolution.group,
        weight=convolution.weight.double() * scale[:, None, None],
        basis=convolution.basis.double(),
        bias=norm.bias.double() - norm.running_mean.double() * scale,
        mean=norm.bias.double().clone(),
        deviation=norm.weight.double().abs(),
        stride=convolution.stride,
        padding=convolution.padding,
        depthwise=convolution.depthwise,
        linear=norm.linear,
    )


@torch.no_grad()
def fold(network: MobileNetV2) -> FoldedNetwork:
    """Fold every batch norm into the convolution before it."""
    blocks = []
    for i, block in enumerate(network.blocks):
        assert isinstance(block, InvertedResidual)
        expand = None if block.expand is None else _fold_layer(f"block{i}.expand", block.expand)
        depthwise = _fold_layer(f"block{i}.depthwise", block.depthwise)
        project = _fold_layer(f"block{i}.project", block.project)
        blocks.append(Block(expand, depthwise, project, block.shortcut))
    return FoldedNetwork(
        topology=network.topology,
        stem=_fold_layer("stem", network.stem),
        blocks=blocks,
        head=_fold_layer("head", network.head),
        class_weight=network.classifier.weight.double().clone(),
        class_bias=network.classifier.bias.double().clone(),
        input_disc=network.input_disc,
        pooled=network.pooled,
    )
