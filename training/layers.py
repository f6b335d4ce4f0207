"""Equivariant layers on regular fields of a finite group of turns.

A feature map of F regular fields has ``|G| * F`` channels in *group-major* order: channel
``g * F + f`` holds field ``f`` at group element ``g``. In channels-last memory a field's |G| values
are then stored like additional pixels of an F-channel image, so batch norm with statistics shared over
a field and max pooling over the group are views, not copies.

Source: Weiler & Cesa 2019, *General E(2)-Equivariant Steerable CNNs* (e2cnn).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.symmetry import Group
from training.native import call, channels_last, rows, suits

DEPTHWISE_PX = 3  # as in depthwise.c
MIN_CHANNELS = 16  # as in depthwise.c
STRIDES = (1, 2)  # as in depthwise.c


@cache
def lifting_basis(group: Group, kernel_size: int, free: bool = False) -> Tensor:
    """Basis of the filters that lift one scalar channel to one regular field.

    Args:
        group: C_n or D_n.
        kernel_size: side of the square filter in pixels.
        free: all ``kernel_size²`` pixel filters, turned by index permutation, instead of e2cnn's
            band-limited ones. Only for groups that permute the pixel grid (C1, C2, C4, D1, D2, D4).
            C1 is always free: it is the conventional convolution.

    Returns:
        float64 [dimension, |G|, kernel_size, kernel_size]; entry ``[:, g]`` is the basis turned by ``g``.

    Raises:
        ValueError: if ``free`` is set for a group with turns that are not pixel permutations.
    """
    if free or len(group) == 1:
        if group.exact_subgroup != group:
            raise ValueError(f"free filters need a subgroup of D4, not {group.name}: its turns interpolate")
        pixels = torch.eye(kernel_size**2, dtype=torch.float64).view(-1, kernel_size, kernel_size)
        return torch.stack([exact_turn(pixels, group, g) for g in range(len(group))], dim=1)
    from training.steerable import sampled_basis

    return project_exactly(sampled_basis(group, kernel_size), group)


def exact_turn(images: Tensor, group: Group, element: int) -> Tensor:
    """Turn ``images`` [..., H, H] by an element of the exact subgroup, as a pixel permutation."""
    mirrored = images.flip(-1) if group.elements[element].reflected else images
    quarter_turns, rest = divmod(4 * group.elements[element].step, group.n)
    if rest:
        raise ValueError(f"element {element} of {group.name} does not permute the pixel grid")
    return mirrored.rot90(quarter_turns, (-2, -1))


def project_exactly(filters: Tensor, group: Group) -> Tensor:
    """Make filters [..., |G|, k, k] equivariant to the last bit under the exact subgroup.

    One representative of each coset ``H g`` is kept and copied along its orbit by pixel
    permutations; an average would not give equal bits.
    """
    turned = filters.clone()
    for h in group.exact_elements:
        for g in group.coset_representatives:
            turned[..., group.product(h, g), :, :] = exact_turn(filters[..., g, :, :], group, h)
    return turned


@cache
def pointwise_basis(group: Group) -> Tensor:
    """One-hot basis [|G|, |G|, |G|] of 1×1 regular → regular filters: ``[g⁻¹h, g, h] = 1``."""
    return F.one_hot(torch.tensor(group.relative), len(group)).permute(2, 0, 1).double()


@cache
def regular_basis(group: Group, kernel_size: int) -> Tensor:
    """Basis of the free regular → regular filters of a group that permutes the pixel grid.

    Args:
        group: C1, C2, C4, D1, D2 or D4.
        kernel_size: side of the square filter in pixels.

    Returns:
        float64 [|G| · kernel_size², |G| out, |G| in, kernel_size, kernel_size]. Source: Cohen & Welling 2016, eq. 11.

    Raises:
        ValueError: if the group has turns that are not pixel permutations.
    """
    lifted = lifting_basis(group, kernel_size, free=True)
    relative = pointwise_basis(group)
    basis = torch.einsum("rgh,bgyx->rbghyx", relative, lifted)
    return basis.flatten(0, 1)


class _Depthwise(torch.autograd.Function):
    """Depthwise 3×3 convolution in bfloat16 with filters in float32; ``depthwise.c`` has its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, filters)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, filters.to(x.dtype), stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, filters = ctx.saved_tensors
        images, channels, side, _ = x.shape
        x, dy = rows(x), rows(grad)
        taps = filters.flatten(1).T.contiguous()
        dx, d_taps = torch.empty_like(x), torch.empty_like(taps)
        sizes = images, side, dy.shape[1], channels, ctx.stride, ctx.padding
        call("depthwise_gradients", x, dy, taps, *sizes, dx, d_taps)
        return channels_last(dx), d_taps.T.reshape(filters.shape), None, None


class EquivariantConv(nn.Module):
    """Convolution whose filters are linear in a fixed equivariant basis.

    ``weight`` is [out fields, in fields (1 if depthwise), basis dimension]; filters are expanded in
    float32 also under autocast, so that the exact subgroup stays exact in mixed precision.
    """

    basis: Tensor

    def __init__(
        self,
        group: Group,
        in_fields: int,
        out_fields: int,
        basis: Tensor,
        *,
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.group, self.stride, self.padding = group, stride, padding
        self.in_fields, self.out_fields, self.depthwise = in_fields, out_fields, depthwise
        self.groups = len(group) * in_fields if depthwise else 1
        fan_in = (1 if depthwise else in_fields) * basis.square().sum().item() / len(group)
        per_field = 1 if depthwise else in_fields
        self.weight = nn.Parameter(torch.randn(out_fields, per_field, len(basis)) * math.sqrt(2 / fan_in))
        self.register_buffer("basis", basis.float(), persistent=False)

    def expand(self) -> Tensor:
        """The plain filters [|G|·out fields, in channels per group, k, k], float32 (or as the basis)."""
        fields = self.weight.to(self.basis.dtype)
        filters = torch.einsum("oib,bghyx->gohiyx", fields, self.basis)
        return filters.reshape(len(self.group) * self.out_fields, -1, *filters.shape[-2:])

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            filters = self.expand()
        fits = filters.shape[-1] == DEPTHWISE_PX and self.stride in STRIDES and x.shape[1] >= MIN_CHANNELS
        if self.depthwise and fits and suits(x):
            convolve: Callable[..., Tensor] = _Depthwise.apply
            return convolve(x, filters, self.stride, self.padding)
        return F.conv2d(x, filters, stride=self.stride, padding=self.padding, groups=self.groups)


def lifting_conv(
    group: Group, in_channels: int, out_fields: int, kernel_size: int, *, stride: int = 1, free: bool = False
) -> EquivariantConv:
    """Scalars → regular fields: the stem."""
    basis = lifting_basis(group, kernel_size, free)[:, :, None]
    return EquivariantConv(group, in_channels, out_fields, basis, stride=stride)


def depthwise_conv(
    group: Group, fields: int, kernel_size: int, *, stride: int = 1, padding: int = 0, free: bool = False
) -> EquivariantConv:
    """``out_g = (g·ψ) ∗ in_g``: one turned base filter per field, one filter per channel."""
    basis = lifting_basis(group, kernel_size, free)[:, :, None]
    return EquivariantConv(group, fields, fields, basis, stride=stride, padding=padding, depthwise=True)


def pointwise_conv(group: Group, in_fields: int, out_fields: int) -> EquivariantConv:
    """1×1 regular → regular: |G| weights per pair of fields, expanded by the Cayley table."""
    return EquivariantConv(group, in_fields, out_fields, pointwise_basis(group)[..., None, None])


def regular_conv(
    group: Group, in_fields: int, out_fields: int, kernel_size: int, *, padding: int = 0
) -> EquivariantConv:
    """Free regular → regular convolution, for groups that permute the pixel grid."""
    return EquivariantConv(group, in_fields, out_fields, regular_basis(group, kernel_size), padding=padding)


class _GroupMax(torch.autograd.Function):
    """``grouppool.c``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, copies: int) -> Tensor:
        x = rows(x)
        images, side, _, channels = x.shape
        y = x.new_empty(images, side, side, channels // copies)
        argmax = torch.empty_like(y, dtype=torch.uint8)
        call("group_max", x, images * side * side, copies, channels // copies, y, argmax)
        ctx.save_for_backward(argmax)
        ctx.copies = copies
        return channels_last(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (argmax,) = ctx.saved_tensors
        dy = rows(grad)
        images, side, _, fields = dy.shape
        dx = dy.new_empty(images, side, side, ctx.copies * fields)
        call("group_max_gradient", dy, argmax, images * side * side, ctx.copies, fields, dx)
        return channels_last(dx), None


class GroupMaxPool(nn.Module):
    """Maximum over the group at each pixel: [N, |G|·F, H, W] → [N, F, H, W]."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        if suits(x):
            pool: Callable[..., Tensor] = _GroupMax.apply
            return pool(x, len(self.group))
        return x.unflatten(1, (len(self.group), -1)).amax(1)
