"""P4M-DenseNet: a densely connected equivariant network, a row of the paper's table 1.

Source: Veeling et al. 2018, *Rotation Equivariant CNNs for Digital Pathology*; Huang et al. 2017, *DenseNet*.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.symmetry import Group
from training.batchnorm import FieldBatchNorm
from training.layers import EquivariantConv, exact_turn, lifting_conv, pointwise_conv, regular_conv
from training.topology import P4M as P4M
from training.topology import DenseNetTopology as DenseNetTopology

GROUP = Group.parse(P4M.group)
BLOCKS = 5
GROWTH_FIELDS = 9
EPS = 2e-5
COPIES_TOLERANCE = 1e-6
# The stored weights order D4 by mirroring top to bottom; this is an involution, so it maps both ways.
STORED_ORDER = (0, 1, 2, 3, 6, 5, 4, 7)


class WeightsError(ValueError):
    """The file does not contain the weights of this network."""


def _crop(x: Tensor, pixels: int) -> Tensor:
    return x[..., pixels:-pixels, pixels:-pixels]


def concatenate(first: Tensor, second: Tensor) -> Tensor:
    """Fields of both, group-major: [N, |G|·F1, H, W] and [N, |G|·F2, H, W] to [N, |G|·(F1 + F2), H, W]."""
    pixels = [x.permute(0, 2, 3, 1).unflatten(3, (len(GROUP), -1)) for x in (first, second)]
    return torch.cat(pixels, dim=4).flatten(3).permute(0, 3, 1, 2)


class NormActConv(nn.Module):
    """Field batch norm, ReLU, the mean over 2×2 pixels if ``pooled``, then a convolution.

    A 1×1 convolution commutes with the mean, and after it needs a quarter of the products.
    """

    def __init__(self, fields: int, convolution: EquivariantConv, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.norm = FieldBatchNorm(GROUP, fields)
        self.norm.eps = EPS
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        y: Tensor = self.convolution(F.avg_pool2d(x, 2) if self.pooled else x)
        return y


class P4MDenseNet(nn.Module):
    """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2], invariant under D4.

    Nothing is padded: 96 → 94 → 92 → 46 → 44 → 22 → 20 → 10 → 8 → 4 → 2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.topology = P4M
        fields = GROWTH_FIELDS
        self.stem = lifting_conv(GROUP, 3, fields, 3, free=True)
        self.dense, self.transition = nn.ModuleList(), nn.ModuleList()
        for block in range(BLOCKS):
            self.dense.append(NormActConv(fields, regular_conv(GROUP, fields, GROWTH_FIELDS, 3)))
            fields += GROWTH_FIELDS
            if block < BLOCKS - 1:
                pointwise = pointwise_conv(GROUP, fields, fields)
                self.transition.append(NormActConv(fields, pointwise, pooled=True))
        self.head = NormActConv(fields, pointwise_conv(GROUP, fields, 2))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem((x - self.mean[:, None, None]) / self.std[:, None, None])
        for block, dense in enumerate(self.dense):
            h = concatenate(dense(h), _crop(h, 1))
            if block < len(self.transition):
                h = self.transition[block](h)
        pooled = self.head.norm(h).mean((2, 3), keepdim=True)
        logits: Tensor = self.head.convolution(pooled).unflatten(1, (len(GROUP), 2)).mean((1, 3, 4))
        return logits


def load_expanded(file: Path) -> P4MDenseNet:
    """Load weights expanded to plain, field-major convolutions; returns the network in evaluation mode.

    Args:
        file: NumPy archive with ``stem.conv``, ``dense.i``, ``transition.i``, ``head`` and ``input``.

    Raises:
        WeightsError: if the file is no archive of numbers, an array is missing or has another shape, or the copies of
            a filter differ by more than 1e-6 from the turns of one base filter.
    """
    network, arrays = P4MDenseNet(), _arrays(file)
    try:
        network.mean.copy_(arrays["input.mean"])
        network.std.copy_(arrays["input.std"])
        _fold_stem(network.stem, arrays["stem.conv.weight"])
        for name, unit in network.named_modules():
            if isinstance(unit, NormActConv):
                _copy_norm(unit.norm, arrays, f"{name}.norm")
                _fold_regular(unit.convolution, arrays[f"{name}.conv.weight"], f"{name}.conv")
    except KeyError as missing:
        raise WeightsError(f"{file} holds no array {missing}: it is not an expanded P4M-DenseNet") from missing
    except RuntimeError as error:
        raise WeightsError(f"{file}: {error}") from error
    return network.eval()


def _arrays(file: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file), np.load(file) as archive:
            return {name: torch.from_numpy(np.asarray(archive[name]).astype(np.float32)) for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise WeightsError(f"{file} is no NumPy archive of numbers, or is truncated: {error}") from error


@torch.no_grad()
def _copy_norm(norm: FieldBatchNorm, arrays: dict[str, Tensor], name: str) -> None:
    for part, own in (
        ("weight", norm.weight),
        ("bias", norm.bias),
        ("running_mean", norm.running_mean),
        ("running_var", norm.running_var),
    ):
        copies = arrays[f"{name}.{part}"].view(-1, len(GROUP))
        _check_copies(copies, copies[:, :1].expand_as(copies), f"{name}.{part}")
        assert own is not None
        own.copy_(copies[:, 0])


@torch.no_grad()
def _fold_stem(stem: EquivariantConv, bank: Tensor) -> None:
    filters = bank.unflatten(0, (-1, len(GROUP)))[:, STORED_ORDER]
    stem.weight.copy_(filters[:, 0].flatten(2))
    turned = torch.stack([exact_turn(filters[:, 0], GROUP, g) for g in range(len(GROUP))], dim=1)
    _check_copies(filters, turned, "stem.conv")


@torch.no_grad()
def _fold_regular(convolution: EquivariantConv, bank: Tensor, name: str) -> None:
    size = len(GROUP)
    filters = bank.unflatten(1, (-1, size)).unflatten(0, (-1, size))  # [out fields, g, in fields, h, k, k]
    filters = filters[:, STORED_ORDER][:, :, :, STORED_ORDER]
    convolution.weight.copy_(filters[:, 0].flatten(2))
    expanded = convolution.expand().unflatten(1, (size, -1)).unflatten(0, (size, -1)).permute(1, 0, 3, 2, 4, 5)
    _check_copies(filters, expanded, name)


def _check_copies(found: Tensor, expected: Tensor, name: str) -> None:
    difference = (found - expected).abs().max().item()
    if difference > COPIES_TOLERANCE:
        raise WeightsError(f"{name}: the copies of a field differ by {difference:.3g}, expected at most 1e-6")
