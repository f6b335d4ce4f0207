"""MobileNetV2 on regular fields of a rotation or reflection group.

Source: Sandler et al. 2018, *MobileNetV2*; Mohamed et al. 2020 for the equivariant network. With group
C1 it is the conventional network of the same topology.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from model_zoo.symmetry import Group
from training.batchnorm import FieldBatchNorm
from training.data.patches import PATCH_PX as PATCH_PX
from training.layers import (
    EquivariantConv,
    GroupMaxPool,
    depthwise_conv,
    lifting_conv,
    pointwise_conv,
)
from training.topology import Topology as Topology


def disc(side: int) -> Tensor:
    """Boolean [side, side]: pixels whose centre lies within the disc inscribed in the square."""
    offset = torch.arange(side) - (side - 1) / 2
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= (side / 2) ** 2


def pooled_positions(topology: Topology) -> Tensor:
    """Boolean [side, side]: positions of the last grid that are averaged.

    Raises:
        ValueError: if ``pool`` is ``inner`` and no receptive field lies within the patch's disc.
    """
    side = topology.grids()[-1]
    if topology.pool == "disc":
        return disc(side)
    offset = (torch.arange(side) - (side - 1) / 2).abs() * topology.stride
    # The centre of the square's corner pixel must lie in the disc; it is half a pixel inside of the corner.
    corner = offset + (topology.receptive_field - 1) / 2
    inside = corner[:, None] ** 2 + corner[None, :] ** 2 <= (topology.crop_px / 2) ** 2
    if not inside.any():
        raise ValueError(
            f"no receptive field of {topology.receptive_field} pixels lies within the disc of a {topology.crop_px} px "
            'patch; take fewer blocks, or pool over the "disc" of the last grid'
        )
    return inside


def cropped(x: Tensor) -> Tensor:
    """``x`` without its outermost pixels, to match the output of a 3×3 layer without padding."""
    return x[..., 1:-1, 1:-1]


class ConvNormAct(nn.Sequential):
    """Convolution, then field batch norm and, unless ``linear``, ReLU."""

    def __init__(self, convolution: EquivariantConv, *, linear: bool = False) -> None:
        super().__init__(convolution, FieldBatchNorm(convolution.group, convolution.out_fields, linear=linear))

    @property
    def convolution(self) -> EquivariantConv:
        return cast(EquivariantConv, self[0])

    @property
    def norm(self) -> FieldBatchNorm:
        return cast(FieldBatchNorm, self[1])


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a shortcut if the shapes match."""

    def __init__(self, topology: Topology, in_fields: int, out_fields: int, expansion: int, stride: int) -> None:
        super().__init__()
        group = Group.parse(topology.group)
        hidden = in_fields * expansion
        self.shortcut = stride == 1 and in_fields == out_fields
        self.dense = topology.dense
        padding = 1 if stride == 1 and not topology.dense else 0
        spatial = depthwise_conv(group, hidden, 3, free=topology.free_filters, stride=stride, padding=padding)
        self.expand = ConvNormAct(pointwise_conv(group, in_fields, hidden)) if expansion > 1 else None
        self.depthwise = ConvNormAct(spatial)
        self.project = ConvNormAct(pointwise_conv(group, hidden, out_fields), linear=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        if not self.shortcut:
            return y
        return (cropped(x) if self.dense else x) + y


class MobileNetV2(nn.Module):
    """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2].

    Unless the topology is dense, everything outside the disc inscribed in the patch is set to glass (1.0), because
    the corners leave the patch when it turns. The last feature map is pooled over the group at each pixel, then
    averaged over the topology's pooled positions.

    Raises:
        ValueError: if the topology leaves the symmetric grids, or pools over no position.
    """

    input_disc: Tensor
    pooled: Tensor

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.topology = topology
        group = Group.parse(topology.group)
        pooled = pooled_positions(topology)
        fields = topology.fields(topology.stem_channels)
        free = topology.free_filters
        self.stem = ConvNormAct(lifting_conv(group, 3, fields, topology.stem_px, free=free, stride=2))
        blocks = []
        for (expansion, channels, count, _), stride in zip(topology.stages, topology.strides(), strict=True):
            for i in range(count):
                out_fields = topology.fields(channels)
                blocks.append(InvertedResidual(topology, fields, out_fields, expansion, stride if i == 0 else 1))
                fields = out_fields
        self.blocks = nn.Sequential(*blocks)
        head_fields = topology.fields(topology.head_channels)
        self.head = ConvNormAct(pointwise_conv(group, fields, head_fields))
        self.group_pool = GroupMaxPool(group)
        self.classifier = nn.Linear(head_fields, 2)
        self.register_buffer("input_disc", disc(topology.crop_px), persistent=False)
        self.register_buffer("pooled", pooled, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        side = self.topology.crop_px
        x = x[..., :side, :side]
        if not self.topology.dense:
            x = torch.where(self.input_disc, x, 1.0)
        y = self.group_pool(self.head(self.blocks(self.stem(x))))
        inside = self.pooled.to(y.dtype)
        features = (y * inside).sum((2, 3)) / inside.sum()
        logits: Tensor = self.classifier(features)
        return logits
