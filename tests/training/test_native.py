"""The compiled kernels match PyTorch's operators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.symmetry import Group
from training.layers import MIN_CHANNELS, EquivariantConv, GroupMaxPool, depthwise_conv
from training.native import channels_last, kernels, rows, suits

BFLOAT16_STEP = 2**-8


def test_a_compiler_that_fails_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.cache_clear()
    assert kernels() is None
    assert not suits(torch.zeros(1, dtype=torch.bfloat16))
    kernels.cache_clear()


@pytest.mark.usefixtures("compiled")
def test_the_kernels_are_for_bfloat16_alone() -> None:
    assert suits(torch.zeros(1, dtype=torch.bfloat16))
    assert not suits(torch.zeros(1))


@pytest.mark.usefixtures("compiled")
def test_the_kernels_leave_small_numbers_as_they_are() -> None:
    assert kernels() is not None
    smallest = float("5e-324")
    assert smallest * 1.0 > 0


def test_rows_are_a_view_of_channels_last_memory() -> None:
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert rows(x).data_ptr() == x.data_ptr()
    assert torch.equal(channels_last(rows(x.contiguous())), x)


def gradients(layer: EquivariantConv, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of the input and the weights, float32."""
    x = x.detach().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(dy.to(y.dtype))
    assert x.grad is not None
    assert layer.weight.grad is not None
    return y.detach().float(), x.grad.float(), layer.weight.grad.float()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("name", "fields"), [("C1", 16), ("C1", 23), ("C4", 12), ("C12", 3), ("D4", 2)])
@pytest.mark.parametrize(("side", "stride", "padding"), [(11, 1, 1), (11, 2, 0), (9, 1, 0), (12, 2, 1)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_depthwise_gradients_are_pytorchs(
    name: str, fields: int, side: int, stride: int, padding: int, memory_format: torch.memory_format
) -> None:
    layer = depthwise_conv(Group.parse(name), fields, 3, stride=stride, padding=padding)
    layer.weight.data = layer.weight.data.bfloat16().float()
    channels = len(layer.group) * fields
    assert channels >= MIN_CHANNELS
    x = torch.randn(5, channels, side, side).bfloat16().contiguous(memory_format=memory_format)
    out = (side + 2 * padding - 3) // stride + 1
    dy = torch.randn(5, channels, out, out).bfloat16()
    actual = gradients(layer, x, dy)
    expected = gradients(layer, x.float(), dy.float())
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours - theirs).abs().max() <= 2 * BFLOAT16_STEP * theirs.abs().max()


@pytest.mark.usefixtures("compiled")
def test_few_channels_go_to_pytorch() -> None:
    layer = depthwise_conv(Group.parse("C4"), 1, 3)
    x = torch.randn(2, 4, 7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    expected = F.conv2d(x, layer.expand(), groups=4)
    assert (y.float() - expected).abs().max() <= 2 * BFLOAT16_STEP * expected.abs().max()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", ["C1", "C12", "D4"])
def test_group_pooling_is_pytorchs_to_the_bit(name: str) -> None:
    pool = GroupMaxPool(Group.parse(name))
    x = torch.randn(3, 5 * len(pool.group), 6, 6).bfloat16()
    dy = torch.randn(3, 5, 6, 6).bfloat16()
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        inputs = x.to(dtype, copy=True).requires_grad_()
        y = pool(inputs)
        y.backward(dy.to(dtype))
        assert inputs.grad is not None
        results.append((y.detach().float(), inputs.grad.float()))
    (ours, our_gradient), (theirs, their_gradient) = results
    assert torch.equal(ours, theirs)
    ties = (x.unflatten(1, (len(pool.group), -1)) == theirs[:, None]).sum(1) > 1
    assert ties.float().mean() < 0.2
    alone = ~ties.repeat(1, len(pool.group), 1, 1)
    assert torch.equal(our_gradient[alone], their_gradient[alone])


@pytest.mark.usefixtures("compiled")
def test_strides_that_the_kernel_does_not_know_go_to_pytorch() -> None:
    layer = depthwise_conv(Group.parse("C4"), 4, 3, stride=3)
    x = torch.randn(2, 16, 12, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x.bfloat16()).sum().backward()
    actual, x.grad = x.grad, None
    F.conv2d(x, layer.expand(), stride=3, groups=16).sum().backward()
    assert actual is not None
    assert x.grad is not None
    assert (actual - x.grad).abs().max() <= 2 * BFLOAT16_STEP * x.grad.abs().max()
