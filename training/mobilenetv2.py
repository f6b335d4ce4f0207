"""MobileNetV2 on regular fields of a rotation or reflection group.

Source: Sandler et al. 2018, *MobileNetV2*; Mohamed et al. 2020 for the equivariant network. With group
C1 it is the conventional network of the same topology.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, cast

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

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class Topology:
    """The shape of a network.

    Attributes:
        group: name of the rotation or reflection group, such as ``"C12"``; ``"C1"`` is conventional.
        stem_channels: channels of the stem, over all group elements.
        stages: (expansion, channels, blocks, stride) of each stage of inverted residuals.
        softened: indices of the stages whose stride 2 becomes 1.
        head_channels: channels before the group pooling.
        crop_px: side of the square that is cropped from the patch's top left corner, 96 for none.
        stem_px: side of the stem's filters; 4 keeps a 96 px patch on symmetric grids, 3 a 95 px one.
        free_filters: nine-dimensional depthwise filters, for groups within D4.
        dense: no padding, and no mask on the input: the network is a filter over a slide, and its answer for a window
            is the same alone and in a pass over a region, at every position that is a multiple of its stride.
        pool: the positions of the last grid that are averaged: those in the grid's ``disc``, or the
            ``inner`` ones, whose receptive fields lie within the disc inscribed in the patch.
    """

    group: str = "C12"
    stem_channels: int = 48
    stages: tuple[tuple[int, int, int, int], ...] = STAGES
    softened: tuple[int, ...] = (3, 5)
    head_channels: int = 768
    crop_px: int = PATCH_PX
    stem_px: int = 4
    free_filters: bool = False
    dense: bool = False
    pool: Literal["disc", "inner"] = "disc"

    def fields(self, channels: int) -> int:
        return max(1, round(channels / len(Group.parse(self.group))))

    def strides(self) -> tuple[int, ...]:
        return tuple(1 if i in self.softened else stage[3] for i, stage in enumerate(self.stages))

    def convolutions(self) -> Iterator[tuple[str, int, int]]:
        """Name, side of the filters and stride of the stem and of every depthwise layer, in order."""
        yield "stem", self.stem_px, 2
        for i, (stage, stride) in enumerate(zip(self.stages, self.strides(), strict=True)):
            for block in range(stage[2]):
                yield f"stage {i}", 3, stride if block == 0 else 1

    def grids(self) -> tuple[int, ...]:
        """Side in pixels of the input, the stem's output and each stage's output.

        Raises:
            ValueError: if a layer of stride 2 is not symmetric on its input, so that a quarter
                turn of the patch would not be a quarter turn of the feature map; or if a layer without padding
                has fewer input pixels than its filters.
        """
        side = self.crop_px
        sides = {"input": side}
        for name, kernel, stride in self.convolutions():
            if stride == 2:
                if side < kernel or (side - kernel) % 2:
                    raise ValueError(
                        f"{name}: a {kernel}×{kernel} filter of stride 2 on {side}×{side} pixels leaves the "
                        f"symmetric grids; soften other strides than {self.softened} or change the crop or stem"
                    )
                side = (side - kernel) // 2 + 1
            elif self.dense:
                if side < kernel:
                    raise ValueError(
                        f"{name}: a {kernel}×{kernel} filter without padding does not fit on {side}×{side} pixels; "
                        "take fewer blocks, or one more stage of stride 2 later"
                    )
                side -= kernel - 1
            sides[name] = side
        return tuple(sides.values())

    @property
    def stride(self) -> int:
        """Pixels of the patch between neighbouring positions of the last grid."""
        return prod(stride for _, _, stride in self.convolutions())

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the receptive field of one position of the last grid, away from borders."""
        side, step = 1, 1
        for _, kernel, stride in self.convolutions():
            side += (kernel - 1) * step
            step *= stride
        return side


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
