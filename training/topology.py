"""The shapes of the networks, without torch: the command line checks them before it loads a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from model_zoo.symmetry import Group
from training.data.patches import PATCH_PX

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class Topology:
    """The shape of a MobileNetV2.

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


@dataclass(frozen=True)
class DenseNetTopology:
    """The one shape that the P4M-DenseNet has; ``run.json`` tells it from others by its family."""

    family: Literal["p4m-densenet"]

    @property
    def group(self) -> str:
        return "D4"


P4M = DenseNetTopology("p4m-densenet")
