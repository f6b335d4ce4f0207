"""MobileNetV2 on regular fields of a rotation or reflection group.

Source: Sandler et al. 2018, *MobileNetV2*; Mohamed et al. 2020 for the equivariant network. With group
C1 it is the conventional network of the same topology.
"""

from __future__ import annotations

from dataclasses import dataclass
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

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class Topology:
    """What decides the shape of a network.

    Attributes:
        group: name of the rotation or reflection group, such as ``"C12"``; ``"C1"`` is conventional.
        stem_channels: channels of the stem, over all group elements.
        stages: (expansion, channels, blocks, stride) of each stage of inverted residuals.
        softened: indices of the stages whose stride 2 becomes 1.
        head_channels: channels before the group pooling.
        crop_px: side of the square that is cropped from the patch's top left corner, 96 for none.
        stem_px: side of the stem's filters; 4 keeps a 96 px patch on symmetric grids, 3 a 95 px one.
        free_filters: nine-dimensional depthwise filters, for groups within D4.
    """

    group: str = "C12"
    stem_channels: int = 48
    stages: tuple[tuple[int, int, int, int], ...] = STAGES
    softened: tuple[int, ...] = (3, 5)
    head_channels: int = 768
    crop_px: int = PATCH_PX
    stem_px: int = 4
    free_filters: bool = False

    def fields(self, channels: int) -> int:
        return max(1, round(channels / len(Group.parse(self.group))))

    def strides(self) -> tuple[int, ...]:
        return tuple(1 if i in self.softened else stage[3] for i, stage in enumerate(self.stages))

    def grids(self) -> tuple[int, ...]:
        """Side in pixels of the input, the stem's output and each stage's output.

        Raises:
            ValueError: if a layer of stride 2 does not lie symmetrically on its input, so that a quarter
                turn of the patch would not be a quarter turn of the feature map.
        """
        sides = [self.crop_px]
        for name, kernel, stride in [("stem", self.stem_px, 2)] + [
            (f"stage {i}", 3, s) for i, s in enumerate(self.strides())
        ]:
            if stride == 2:
                if sides[-1] < kernel or (sides[-1] - kernel) % 2:
                    raise ValueError(
                        f"{name}: a {kernel}×{kernel} filter of stride 2 on {sides[-1]}×{sides[-1]} pixels leaves the "
                        f"symmetric grids; soften other strides than {self.softened} or change the crop or stem"
                    )
                sides.append((sides[-1] - kernel) // 2 + 1)
            else:
                sides.append(sides[-1])
        return tuple(sides)


def disc(side: int) -> Tensor:
    """Boolean [side, side]: pixels whose centre lies within the disc inscribed in the square."""
    offset = torch.arange(side) - (side - 1) / 2
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= (side / 2) ** 2


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
    """Expand, depthwise, project; with a shortcut where the shapes allow one."""

    def __init__(self, topology: Topology, in_fields: int, out_fields: int, expansion: int, stride: int) -> None:
        super().__init__()
        group = Group.parse(topology.group)
        hidden = in_fields * expansion
        self.shortcut = stride == 1 and in_fields == out_fields
        spatial = depthwise_conv(
            group, hidden, 3, free=topology.free_filters, stride=stride, padding=1 if stride == 1 else 0
        )
        self.expand = ConvNormAct(pointwise_conv(group, in_fields, hidden)) if expansion > 1 else None
        self.depthwise = ConvNormAct(spatial)
        self.project = ConvNormAct(pointwise_conv(group, hidden, out_fields), linear=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2].

    Everything outside the disc inscribed in the patch is glass (1.0): its corners leave the patch when
    it turns. The last feature map is pooled over the group at each pixel, then averaged over its disc.

    Raises:
        ValueError: if the topology leaves the symmetric grids.
    """

    input_disc: Tensor
    output_disc: Tensor

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.topology = topology
        group = Group.parse(topology.group)
        sides = topology.grids()
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
        self.register_buffer("output_disc", disc(sides[-1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        side = self.topology.crop_px
        x = torch.where(self.input_disc, x[..., :side, :side], 1.0)
        y = self.group_pool(self.head(self.blocks(self.stem(x))))
        inside = self.output_disc.to(y.dtype)
        features = (y * inside).sum((2, 3)) / inside.sum()
        logits: Tensor = self.classifier(features)
        return logits
