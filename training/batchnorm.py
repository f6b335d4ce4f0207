"""Batch norm with statistics shared over a regular field, and the following ReLU.

On a CPU in bfloat16 a C kernel (``batchnorm.c``) does both in five passes over memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model_zoo.symmetry import Group
from training.native import call, channels_last, rows, suits

MAX_CHANNELS = 4096  # as in batchnorm.c
ADAPTING_BATCH = 128


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float, copies: int, relu: bool) -> Any:
        x = rows(x)
        channels = x.shape[-1]
        pixels = x.numel() // channels
        sums = torch.empty(2, channels)
        call("reduce_rows", x, None, None, None, pixels, channels, sums[0], sums[1])
        mean, square = (sums.view(2, copies, -1).sum(1) / (pixels * copies)).unbind()
        variance = (square - mean * mean).clamp_min_(0)
        inverse = torch.rsqrt(variance + eps)
        scale = gamma * inverse
        affine = torch.stack([scale, beta - mean * scale]).repeat(1, copies)
        y = torch.empty_like(x)
        call("scale_shift", x, *affine, int(relu), pixels, channels, y)
        ctx.save_for_backward(x, gamma, mean, inverse, affine)
        ctx.copies, ctx.relu = copies, relu
        ctx.mark_non_differentiable(mean, variance)
        return channels_last(y), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _mean: Tensor, _variance: Tensor) -> Any:
        x, gamma, mean, inverse, affine = ctx.saved_tensors
        gate = affine if ctx.relu else (None, None)
        dy = rows(grad)
        channels = x.shape[-1]
        pixels = x.numel() // channels
        sums = torch.empty(2, channels)
        call("reduce_rows", x, dy, *gate, pixels, channels, sums[0], sums[1])
        d_beta, d_scaled = sums.view(2, ctx.copies, -1).sum(1).unbind()
        d_gamma = (d_scaled - mean * d_beta) * inverse
        values = pixels * ctx.copies
        a = gamma * inverse
        b = -a * inverse * d_gamma / values
        coefficients = torch.stack([a, b, -a * d_beta / values - b * mean]).repeat(1, ctx.copies)
        dx = torch.empty_like(x)
        call("input_gradient", x, dy, *gate, *coefficients, pixels, channels, dx)
        return channels_last(dx), d_gamma, d_beta, None, None, None


class FieldBatchNorm(nn.BatchNorm2d):
    """Batch norm of [N, |G|·F, H, W], group-major, with F statistics, scales and shifts; then ReLU unless ``linear``.

    Args:
        group: the group whose regular fields share statistics.
        fields: F.
        linear: omit the ReLU.
    """

    def __init__(self, group: Group, fields: int, *, linear: bool = False) -> None:
        super().__init__(fields)
        self.group, self.linear = group, linear

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[1] <= MAX_CHANNELS and suits(x):
            return self._fused(x)
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height, width * len(self.group), self.num_features)
        y = super().forward(pixels.permute(0, 3, 1, 2))
        y = y.permute(0, 2, 3, 1).reshape(n, height, width, channels).permute(0, 3, 1, 2)
        return y if self.linear else y.relu()

    def _fused(self, x: Tensor) -> Tensor:
        copies = len(self.group)
        apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _NormAct.apply
        y, mean, variance = apply(x, self.weight, self.bias, self.eps, copies, not self.linear)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            values = x.numel() // self.num_features
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (values / (values - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        return y


@torch.no_grad()
def adapt(network: nn.Module, images: npt.NDArray[np.uint8]) -> nn.Module:
    """Re-estimate the running statistics of batch norm on these patches (AdaBN), in place; returns the network.

    Source: Li et al. 2018, *Adaptive Batch Normalization for practical domain adaptation*.

    Args:
        images: uint8 [N, 96, 96, 3].
    """
    for norm in network.modules():
        if isinstance(norm, FieldBatchNorm):
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average over the batches
            norm.train()
    for begin in range(0, len(images), ADAPTING_BATCH):
        batch = torch.from_numpy(images[begin : begin + ADAPTING_BATCH]).permute(0, 3, 1, 2).float() / 255
        network(batch.contiguous(memory_format=torch.channels_last))
    return network.eval()
