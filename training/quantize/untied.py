"""The plain network without group structure: every channel is independent.

Only for comparison, not for artifacts.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from model_zoo.symmetry import Group
from training.quantize.folded import FoldedNetwork, Layer

TRIVIAL = Group.parse("C1")


def untie(network: FoldedNetwork) -> FoldedNetwork:
    """The same function with every channel a field of C1, so that steps on fields work on channels.

    Filters are expanded over the group in float32, as in a plain export of the trained network, and not projected
    onto exact orbits. The pooling over the group is kept.
    """
    blocks = [
        replace(
            block,
            expand=None if block.expand is None else _untied(block.expand),
            depthwise=_untied(block.depthwise),
            project=_untied(block.project),
        )
        for block in network.blocks
    ]
    return replace(network, stem=_untied(network.stem), blocks=blocks, head=_untied(network.head))


def _untied(layer: Layer) -> Layer:
    single = replace(layer, weight=layer.weight.float(), basis=layer.basis.float())
    filters = single.spread().flatten(2, 3).flatten(0, 1).double()
    side = filters.shape[-1]
    copies = len(layer.group)
    return replace(
        layer,
        group=TRIVIAL,
        weight=filters.flatten(2),
        basis=torch.eye(side**2, dtype=torch.float64).view(-1, 1, 1, side, side),
        bias=layer.bias.repeat(copies),
        mean=layer.mean.repeat(copies),
        deviation=layer.deviation.repeat(copies),
    )
