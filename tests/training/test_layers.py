"""The equivariant layers: e2cnn's filters, equivariance, and equal bits along exact orbits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from e2cnn import gspaces
from e2cnn.nn import FieldType, R2Conv
from torch import Tensor

from model_zoo.symmetry import Group
from tests.training.tiny import turned_fields
from training.layers import (
    EquivariantConv,
    GroupMaxPool,
    depthwise_conv,
    exact_turn,
    lifting_basis,
    lifting_conv,
    pointwise_conv,
    project_exactly,
)

FIELDS = 3


def e2cnn_depthwise(group: Group) -> tuple[Tensor, Tensor]:
    """Weights [F, 1, dimension] of e2cnn's own depthwise lifting, and the filters [|G|, F, 3, 3] it expands."""
    space = gspaces.FlipRot2dOnR2(group.n) if group.reflections else gspaces.Rot2dOnR2(group.n)
    scalars = FieldType(space, FIELDS * [space.trivial_repr])
    regular = FieldType(space, FIELDS * [space.regular_repr])
    torch.set_default_dtype(torch.float64)
    try:
        convolution = R2Conv(scalars, regular, 3, groups=FIELDS, bias=False, initialize=False, recompute=True)
        weights = torch.randn_like(convolution.weights)
        filters = convolution.basisexpansion(weights)
    finally:
        torch.set_default_dtype(torch.float32)
    return weights.view(FIELDS, 1, -1), filters.reshape(FIELDS, len(group), 3, 3).transpose(0, 1)


@pytest.mark.parametrize("name", ["C4", "C6", "C8", "C12", "D4", "D6", "D8", "D12"])
def test_depthwise_filters_are_those_of_e2cnn(name: str) -> None:
    group = Group.parse(name)
    weights, expected = e2cnn_depthwise(group)
    layer = depthwise_conv(group, FIELDS, 3).double()
    layer.basis = lifting_basis(group, 3)[:, :, None]
    layer.weight.data = weights
    assert (layer.expand().view_as(expected) - expected).abs().max() <= 2e-14


@pytest.mark.parametrize("name", ["C2", "C3", "D1", "D2", "D3", "D5", "C16"])
def test_every_group_has_filters(name: str) -> None:
    group = Group.parse(name)
    for kernel_size in (3, 4):
        basis = lifting_basis(group, kernel_size)
        assert basis.shape[1:] == (len(group), kernel_size, kernel_size)
        assert torch.linalg.matrix_rank(basis[:, 0].flatten(1)) == len(basis)


Layer = Callable[[Group], tuple[EquivariantConv, Tensor]]


def lifting(group: Group) -> tuple[EquivariantConv, Tensor]:
    return lifting_conv(group, 3, FIELDS, 4, stride=2), torch.randn(2, 3, 16, 16)


def depthwise(group: Group) -> tuple[EquivariantConv, Tensor]:
    return depthwise_conv(group, FIELDS, 3, padding=1), torch.randn(2, FIELDS * len(group), 9, 9)


def strided_depthwise(group: Group) -> tuple[EquivariantConv, Tensor]:
    return depthwise_conv(group, FIELDS, 3, stride=2), torch.randn(2, FIELDS * len(group), 11, 11)


def pointwise(group: Group) -> tuple[EquivariantConv, Tensor]:
    return pointwise_conv(group, FIELDS, 2 * FIELDS), torch.randn(2, FIELDS * len(group), 7, 7)


def free_lifting(group: Group) -> tuple[EquivariantConv, Tensor]:
    return lifting_conv(group, 3, FIELDS, 4, stride=2, free=True), torch.randn(2, 3, 16, 16)


def free_depthwise(group: Group) -> tuple[EquivariantConv, Tensor]:
    return depthwise_conv(group, FIELDS, 3, padding=1, free=True), torch.randn(2, FIELDS * len(group), 9, 9)


CASES = [(name, layer) for name in ("C4", "C6", "C12", "D3", "D4", "D6") for layer in (lifting, depthwise, pointwise)]
CASES += [(name, strided_depthwise) for name in ("C4", "C12", "D6")]
CASES += [(name, layer) for name in ("C2", "C4", "D1", "D2", "D4") for layer in (free_lifting, free_depthwise)]


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_a_turned_input_turns_and_permutes_the_output(name: str, layer: Layer) -> None:
    group = Group.parse(name)
    convolution, x = layer(group)
    convolution, x = convolution.double(), x.double()
    y = convolution(x)
    for h in group.exact_elements:
        turned = exact_turn(x, group, h) if convolution.in_fields == x.shape[1] else turned_fields(x, group, h)
        assert (convolution(turned) - turned_fields(y, group, h)).abs().max() <= 1e-12
    assert y.std() > 0.1


def test_the_pointwise_filters_are_all_that_commute_with_the_group() -> None:
    """Under every element, also those whose turns interpolate: 1×1 filters have nothing to interpolate."""
    group = Group.parse("D6")
    filters = pointwise_conv(group, 1, 1).double().expand()[:, :, 0, 0]
    for h in range(len(group)):
        permutation = torch.zeros(len(group), len(group), dtype=torch.float64)
        for g in range(len(group)):
            permutation[group.product(h, g), g] = 1
        assert torch.equal(permutation @ filters, filters @ permutation)
    assert len(filters.unique()) == len(group)


@pytest.mark.parametrize("name", ["C4", "C12", "D4", "D6", "D12"])
@pytest.mark.parametrize("build", [lambda g: lifting_conv(g, 3, 4, 4), lambda g: depthwise_conv(g, 36, 3)])
def test_filters_have_equal_bits_along_exact_orbits(name: str, build: Callable[[Group], EquivariantConv]) -> None:
    group = Group.parse(name)
    filters = build(group).expand().detach()
    assert filters.dtype == torch.float32
    by_group = filters.unflatten(0, (len(group), -1)).movedim(0, -3)
    assert torch.equal(project_exactly(by_group, group), by_group)


@pytest.mark.parametrize("name", ["C12", "D4"])
def test_autocast_does_not_reach_the_expansion(name: str) -> None:
    """The response to an impulse shows the filters in use: those of float32, rounded once to bfloat16."""
    group = Group.parse(name)
    layer = depthwise_conv(group, 5, 3)
    impulse = torch.zeros(1, 5 * len(group), 5, 5)
    impulse[..., 2, 2] = 1
    with torch.autocast("cpu", torch.bfloat16):
        response = layer(impulse)
    assert response.dtype == torch.bfloat16
    assert torch.equal(response[0].flip(-1, -2), layer.expand()[:, 0].bfloat16())


def blob(angle_deg: float) -> Tensor:
    """A smooth lopsided image [1, 1, 48, 48], turned by evaluating it elsewhere, without any interpolation."""
    angle = torch.tensor(angle_deg).deg2rad()
    row, column = (torch.arange(48) - 23.5).view(-1, 1), (torch.arange(48) - 23.5).view(1, -1)
    x = column * angle.cos() - row * angle.sin()
    y = column * angle.sin() + row * angle.cos()
    image = torch.exp(-(((x - 5) / 5) ** 2) - (y / 3.5) ** 2) + 0.7 * torch.exp(-(((x + 4) ** 2 + (y - 6) ** 2) / 16))
    return image[None, None]


def pooled(group: Group, image: Tensor) -> Tensor:
    """Eight features of an image: three layers, the maximum over the group, the mean over pixels."""
    torch.manual_seed(1)
    layers = lifting_conv(group, 1, 8, 4), depthwise_conv(group, 8, 3, padding=1), pointwise_conv(group, 8, 8)
    for layer in layers:
        image = layer(image).relu()
    features: Tensor = GroupMaxPool(group)(image).mean((2, 3)).detach()
    return features


@pytest.mark.parametrize("name", ["C12", "D6"])
def test_interpolating_turns_leave_pooled_features_nearly_alone(name: str) -> None:
    """Far more nearly than those of conventional filters."""

    def change(group: Group) -> float:
        before, after = (pooled(group, blob(angle)) for angle in (0, 360 / Group.parse(name).n))
        return float((after - before).norm() / before.norm())

    assert change(Group.parse(name)) < 0.005
    assert change(Group.parse("C1")) > 0.03


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
def test_free_filters_have_a_dimension_for_every_pixel(name: str) -> None:
    group = Group.parse(name)
    basis = lifting_basis(group, 3, free=True)
    assert basis.shape == (9, len(group), 3, 3)
    assert torch.linalg.matrix_rank(basis.flatten(1)) == 9


@pytest.mark.parametrize("name", ["C3", "C8", "C12", "D3", "D8"])
def test_free_filters_are_refused_where_turns_interpolate(name: str) -> None:
    with pytest.raises(ValueError, match=f"free filters need a subgroup of D4, not {name}"):
        lifting_basis(Group.parse(name), 3, free=True)


def test_the_conventional_filters_are_always_free() -> None:
    assert lifting_basis(Group.parse("C1"), 3).shape == (9, 1, 3, 3)
    assert lifting_basis(Group.parse("C1"), 4).shape == (16, 1, 4, 4)


def test_an_interpolating_element_is_no_pixel_permutation() -> None:
    with pytest.raises(ValueError, match="element 1 of C12 does not permute the pixel grid"):
        exact_turn(torch.zeros(3, 3), Group.parse("C12"), 1)


def test_group_pooling_takes_the_maximum_over_a_field() -> None:
    x = torch.randn(2, 4 * 3, 5, 5)
    expected = torch.stack([x[:, f::3].amax(1) for f in range(3)], dim=1)
    assert torch.equal(GroupMaxPool(Group.parse("C4"))(x), expected)


@pytest.mark.parametrize("name", ["C1", "C12", "D4"])
def test_fresh_filters_keep_the_variance(name: str) -> None:
    """He initialization: unit noise, rectified, comes out with about unit second moment."""
    group = Group.parse(name)
    for layer in (depthwise_conv(group, 64, 3), pointwise_conv(group, 32, 64)):
        y = layer(torch.randn(2, layer.in_fields * len(group), 12, 12))
        assert 1.4 < y.square().mean() < 2.8
