"""Batch norm over fields: the compiled kernel matches PyTorch's operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.symmetry import Group
from tests.training.tiny import as_input, tiny_topology
from training.batchnorm import MAX_CHANNELS, FieldBatchNorm
from training.data import Patches
from training.mobilenetv2 import MobileNetV2
from training.native import kernels

BFLOAT16_STEP = 2**-8
FIELDS = 5


def norm(group: Group, *, linear: bool) -> FieldBatchNorm:
    torch.manual_seed(3)
    layer = FieldBatchNorm(group, FIELDS, linear=linear)
    torch.nn.init.uniform_(layer.weight, -1.5, 1.5)
    torch.nn.init.normal_(layer.bias)
    return layer


def results(layer: FieldBatchNorm, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Everything that a training step reads from or leaves in the layer, float32."""
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(gradient.to(y.dtype))
    measured = {"output": y, "input gradient": x.grad, "weight gradient": layer.weight.grad}
    measured |= {"bias gradient": layer.bias.grad, "running mean": layer.running_mean, "variance": layer.running_var}
    return {name: value.detach().float() for name, value in measured.items() if value is not None}


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal within a bfloat16 rounding of each tensor's largest value."""
    assert len(actual) == len(expected) == 6
    for name, value in expected.items():
        error = (actual[name] - value).abs().max() / value.abs().max()
        assert error <= BFLOAT16_STEP, f"{name}: {error}"


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", ["C1", "C4", "C12"])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_kernel_agrees_with_pytorch(name: str, linear: bool, memory_format: torch.memory_format) -> None:
    group = Group.parse(name)
    shape = 6, FIELDS * len(group), 11, 11
    x = (2 * torch.randn(shape) + 1).bfloat16().contiguous(memory_format=memory_format)
    gradient = torch.randn(shape).bfloat16()
    fused = results(norm(group, linear=linear), x, gradient)
    assert_close(fused, results(norm(group, linear=linear), x.float(), gradient))


@pytest.mark.usefixtures("compiled")
def test_the_kernel_counts_batches_and_its_statistics_are_per_field() -> None:
    group = Group.parse("C4")
    layer = norm(group, linear=True)
    x = torch.randn(3, 4 * FIELDS, 7, 7).bfloat16()
    layer(x)
    assert layer.num_batches_tracked == 1
    values = x.float().unflatten(1, (4, FIELDS)).transpose(0, 2).reshape(FIELDS, -1)
    torch.testing.assert_close(layer.running_mean, 0.1 * values.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * values.var(1), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("compiled")
def test_the_kernel_takes_tensors_that_are_views() -> None:
    """A slice of channels, and a gradient that is one number seen everywhere."""
    group = Group.parse("C1")
    wide = torch.randn(4, 2 * FIELDS, 6, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    x = wide[:, :FIELDS]
    everywhere = torch.ones((), dtype=torch.bfloat16).expand(4, FIELDS, 6, 6)
    fused = results(norm(group, linear=False), x, everywhere)
    assert_close(fused, results(norm(group, linear=False), x.float(), everywhere))


def test_evaluation_uses_the_running_statistics() -> None:
    layer = norm(Group.parse("C4"), linear=False).eval()
    mean, variance = torch.randn(FIELDS), torch.rand(FIELDS) + 0.5
    layer.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
    x = torch.randn(2, 4 * FIELDS, 3, 3)
    by_field = x.unflatten(1, (4, FIELDS)).movedim(2, -1)
    expected = (by_field - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias
    torch.testing.assert_close(layer(x), expected.relu().movedim(-1, 2).flatten(1, 2))


def training_losses(patches: Patches) -> list[float]:
    torch.manual_seed(5)
    network = MobileNetV2(tiny_topology("C4"))
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    x, labels = as_input(patches.images), torch.from_numpy(patches.labels)
    losses = []
    for _ in range(4):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.usefixtures("compiled")
def test_without_a_compiler_training_takes_the_same_course(patches: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = training_losses(patches)
    monkeypatch.setenv("CC", "/nonexistent")
    kernels.cache_clear()
    assert kernels() is None
    assert training_losses(patches) == pytest.approx(fused, rel=0.03)
    kernels.cache_clear()


def test_more_channels_than_the_kernel_holds_go_to_pytorch() -> None:
    group = Group.parse("C4")
    fields = MAX_CHANNELS // 4 + 1
    x = torch.randn(2, 4 * fields, 2, 2).bfloat16()
    y = FieldBatchNorm(group, fields)(x)
    expected = FieldBatchNorm(group, fields)(x.float())
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).abs().max() <= BFLOAT16_STEP * expected.abs().max()
