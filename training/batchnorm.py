"""Batch norm with statistics shared over a regular field, and the ReLU behind it.

On a CPU in bfloat16, where PyTorch's own batch norm and ReLU take most of a training step, a small C
kernel does the same in five passes over memory. It is compiled on first use with the system's C compiler;
without one, or on any other device or precision, PyTorch's operators do the work.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_zoo.symmetry import Group

MAX_CHANNELS = 4096  # as in batchnorm.c
SOURCE = Path(__file__).with_suffix(".c")


@cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be built."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + Path("/proc/cpuinfo").read_bytes()[:4096]).hexdigest()[:16]
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rosette"
    library = cache_dir / f"batchnorm-{key}.so"
    if not library.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as build:
            target = Path(build) / library.name
            flags = ["-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fopenmp", "-shared", "-fPIC"]
            done = subprocess.run([compiler, *flags, SOURCE, "-o", target], capture_output=True, check=False)
            if done.returncode:
                return None
            target.replace(library)
    return ctypes.CDLL(str(library))


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _rows(x: Tensor) -> Tensor:
    """[N, C, H, W] as dense [N·H·W, C], a view when channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float, copies: int, relu: bool) -> Any:
        library = kernel()
        assert library is not None
        n, channels, height, width = x.shape
        rows = _rows(x)
        count = ctypes.c_long(len(rows)), ctypes.c_long(channels)
        sums = torch.empty(2, channels)
        library.reduce_rows(_pointer(rows), None, None, *count, _pointer(sums[0]), _pointer(sums[1]))
        mean, square = (sums.view(2, copies, -1).sum(1) / (len(rows) * copies)).unbind()
        variance = (square - mean * mean).clamp_min_(0)
        inverse = torch.rsqrt(variance + eps)
        scale = gamma * inverse
        coefficients = torch.stack([scale, beta - mean * scale]).repeat(1, copies)
        y = torch.empty_like(rows)
        library.scale_shift(
            _pointer(rows), _pointer(coefficients[0]), _pointer(coefficients[1]), int(relu), *count, _pointer(y)
        )
        ctx.save_for_backward(rows, y if relu else None, gamma, mean, inverse)
        ctx.copies = copies
        ctx.mark_non_differentiable(mean, variance)
        return y.view(n, height, width, channels).permute(0, 3, 1, 2), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _mean: Tensor, _variance: Tensor) -> Any:
        library = kernel()
        assert library is not None
        rows, y, gamma, mean, inverse = ctx.saved_tensors
        n, channels, height, width = grad.shape
        dy = _rows(grad)
        count = ctypes.c_long(len(rows)), ctypes.c_long(channels)
        sums = torch.empty(2, channels)
        library.reduce_rows(_pointer(rows), _pointer(dy), _pointer(y), *count, _pointer(sums[0]), _pointer(sums[1]))
        d_beta, d_scaled = sums.view(2, ctx.copies, -1).sum(1).unbind()
        d_gamma = (d_scaled - mean * d_beta) * inverse
        values = len(rows) * ctx.copies
        a = gamma * inverse
        b = -a * inverse * d_gamma / values
        coefficients = torch.stack([a, b, -a * d_beta / values - b * mean]).repeat(1, ctx.copies)
        dx = torch.empty_like(rows)
        library.input_gradient(
            _pointer(rows), _pointer(dy), _pointer(y), *map(_pointer, coefficients), *count, _pointer(dx)
        )
        return dx.view(n, height, width, channels).permute(0, 3, 1, 2), d_gamma, d_beta, None, None, None


class FieldBatchNorm(nn.BatchNorm2d):
    """Batch norm of [N, |G|·F, H, W], group-major, with F statistics, scales and shifts; then ReLU unless ``linear``.

    Args:
        group: the group whose regular fields share statistics.
        fields: F.
        linear: leave out the ReLU.
    """

    def __init__(self, group: Group, fields: int, *, linear: bool = False) -> None:
        super().__init__(fields)
        self.group, self.linear = group, linear

    def forward(self, x: Tensor) -> Tensor:
        fits = x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.shape[1] <= MAX_CHANNELS
        if self.training and fits and kernel() is not None:
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
