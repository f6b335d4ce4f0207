"""Bases of e2cnn's band-limited filters; in a module of its own, because importing e2cnn takes seconds.

Source: Weiler & Cesa 2019, *General E(2)-Equivariant Steerable CNNs* (e2cnn).
"""

from __future__ import annotations

import torch
from e2cnn import gspaces
from e2cnn.nn import FieldType, R2Conv
from torch import Tensor

from model_zoo.symmetry import Group
from training.compat import patch_e2cnn

patch_e2cnn()


def sampled_basis(group: Group, kernel_size: int) -> Tensor:
    """The basis of trivial → regular filters as e2cnn samples it, float64 [dimension, |G|, k, k]."""
    space = _gspace(group)
    scalar, regular = FieldType(space, [space.trivial_repr]), FieldType(space, [space.regular_repr])
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        convolution = R2Conv(scalar, regular, kernel_size, bias=False, initialize=False, recompute=True)
    finally:
        torch.set_default_dtype(default)
    (sampled,) = (b for name, b in convolution.named_buffers() if name.endswith("sampled_basis"))
    return sampled.reshape(-1, len(group), kernel_size, kernel_size)


def _gspace(group: Group) -> gspaces.GSpace:
    if not group.reflections:
        return gspaces.Rot2dOnR2(group.n)
    return gspaces.Flip2dOnR2() if group.n == 1 else gspaces.FlipRot2dOnR2(group.n)
