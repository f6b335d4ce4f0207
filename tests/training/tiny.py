"""Networks and data small enough to train, quantize and verify in a test."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch
from training.data import Patches
from training.layers import exact_turn
from training.mobilenetv2 import MobileNetV2, Topology


def tiny_topology(name: str, *, free_filters: bool = False) -> Topology:
    """Two fields a layer on the grids 96 → 47 → 23 → 11; a stage with a shortcut, and a softened one."""
    width = 2 * len(Group.parse(name))
    return Topology(
        group=name,
        stem_channels=width,
        stages=((1, width, 1, 2), (2, width, 2, 2), (2, width, 1, 2)),
        softened=(2,),
        head_channels=2 * width,
        free_filters=free_filters,
    )


def tiny_dense(name: str, pool: Literal["disc", "inner"] = "disc") -> Topology:
    """Without padding and mask: 47 → 23 → 19 → 9 → 3 pooled over the disc, or 47 → 23 → 21 → 10 → 6 over inner ones."""
    width = 2 * len(Group.parse(name))
    blocks = (2, 3) if pool == "disc" else (1, 3)
    stages = [(1, width, 1, 2), (2, width, blocks[0], 1), (2, width, blocks[1], 2)]
    if pool == "disc":
        stages.append((2, 2 * width, 1, 1))
    return Topology(name, width, tuple(stages), (), 2 * width, dense=True, pool=pool)


# What Lightning says of tiny data in a folder with files: said of every test run, and meant for none.
LIGHTNING_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Precision bf16-mixed is not supported by the model summary"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),  # Lightning 2.6, torch 2.13
]


@cache
def _patch(seed: int) -> Patch:
    return synthetic_patch("tumour" if seed % 2 else "normal", seed)


def synthetic_patches(count: int, first_seed: int = 0) -> Patches:
    """As many patches, tumour and normal in turn."""
    seeds = np.arange(first_seed, first_seed + count)
    return Patches(np.stack([_patch(seed) for seed in seeds.tolist()]), seeds % 2, "synthetic")


def as_input(images: Patch) -> Tensor:
    """uint8 [N, 96, 96, 3] as the float32 [N, 3, 96, 96] in [0, 1] that networks take."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def settled_network(topology: Topology, images: Patch, seed: int = 0) -> MobileNetV2:
    """A fresh network whose batch norms know the statistics of ``images``, in evaluation mode.

    Scales and shifts are drawn at random, so that equalization and absorption have something to do.
    """
    torch.manual_seed(seed)
    network = MobileNetV2(topology)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = None  # the average over all batches
    with torch.no_grad():
        for _ in range(2):
            network.train()(as_input(images))
    return network.eval()


def turned_fields(x: Tensor, group: Group, element: int) -> Tensor:
    """A regular feature map [N, |G|·F, H, W] after an exact turn ``h``: entry ``g`` moves to ``h·g`` and turns."""
    by_group = x.unflatten(1, (len(group), -1))
    moved = torch.empty_like(by_group)
    for g in range(len(group)):
        moved[:, group.product(element, g)] = exact_turn(by_group[:, g], group, element)
    return moved.flatten(1, 2)


def encoded(image: Patch, format_: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format_)
    return buffer.getvalue()


def write_parquet(file: Path, patches: Patches) -> None:
    """One shard in Hugging Face's layout."""
    cells = [{"bytes": encoded(image), "path": None} for image in patches.images]
    image = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image, "label": pa.array(patches.labels)}), file)
