"""Activation ranges and mean inputs measured on patches, for comparison with data-free ranges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.quantize.folded import FoldedNetwork
from training.quantize.ranges import Ranges, ranges_from

CHUNK = 32


@torch.no_grad()
def observed_ranges(network: FoldedNetwork, patches: npt.NDArray[np.uint8]) -> Ranges:
    """Minimum and maximum of every tensor of the float network on ``patches``; means over each field.

    Args:
        patches: uint8 [N, 96, 96, 3].
    """
    spans: dict[str, tuple[float, float]] = {}
    sums: dict[str, Tensor] = {}
    for start in range(0, len(patches), CHUNK):
        chunk = torch.from_numpy(patches[start : start + CHUNK])
        for name, tensor in network.tensors(chunk.permute(0, 3, 1, 2).float() / 255):
            low, high = spans.get(name, (float("inf"), -float("inf")))
            spans[name] = min(low, tensor.min().item()), max(high, tensor.max().item())
            by_channel = tensor.double().flatten(2).mean(2).sum(0) if tensor.ndim == 4 else tensor.double().sum(0)
            sums[name] = sums.get(name, torch.zeros(())) + by_channel
    source_of = {name: source for source, name in pairwise(spans)}
    input_means = {
        layer.name: (sums[source_of[layer.name]] / len(patches)).view(-1, layer.in_fields).mean(0)
        for layer in network.layers()
    }
    return ranges_from(network, spans, input_means)
