"""The network: symmetric grids, named topologies, and invariance of the logits."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.quality import tissue_statistics
from model_zoo.symmetry import Group
from model_zoo.turns import Patch
from tests.training.tiny import as_input, settled_network, tiny_topology
from training.layers import exact_turn
from training.mobilenetv2 import ConvNormAct, InvertedResidual, MobileNetV2, Topology, disc
from training.topologies import TOPOLOGIES

STRIDED_STAGES = (1, 2, 3, 5)
SOFTENINGS = [chosen for count in range(5) for chosen in combinations(STRIDED_STAGES, count)]


def sums(x: Tensor, kernel: int, stride: int) -> Tensor:
    """``x`` convolved with ones, padded as the network pads."""
    return F.conv2d(x, torch.ones(1, 1, kernel, kernel), stride=stride, padding=1 if stride == 1 else 0)


def commutes_with_a_half_turn(topology: Topology) -> bool:
    """Whether turned input gives turned output in every layer, tried out on noise."""
    x = torch.randint(9, (1, 1, topology.crop_px, topology.crop_px)).float()
    for kernel, stride in [(topology.stem_px, 2)] + [(3, stride) for stride in topology.strides()]:
        if stride == 2 and x.shape[-1] < kernel:
            return False
        y = sums(x, kernel, stride)
        if not torch.equal(sums(x.rot90(2, (2, 3)), kernel, stride), y.rot90(2, (2, 3))):
            return False
        x = torch.randint(9, y.shape).float()
    return True


@pytest.mark.parametrize("softened", SOFTENINGS)
@pytest.mark.parametrize(("crop_px", "stem_px"), [(96, 4), (95, 3), (96, 3), (95, 4), (94, 4), (93, 3), (88, 4)])
def test_only_symmetric_grids_are_accepted(softened: tuple[int, ...], crop_px: int, stem_px: int) -> None:
    topology = Topology(softened=softened, crop_px=crop_px, stem_px=stem_px)
    if commutes_with_a_half_turn(topology):
        assert topology.grids()[0] == crop_px
    else:
        with pytest.raises(ValueError, match="leaves the symmetric grids"):
            topology.grids()


def test_the_default_and_the_papers_variant_are_accepted() -> None:
    assert Topology().grids() == (96, 47, 47, 23, 11, 11, 11, 11, 11)
    assert Topology(crop_px=95, stem_px=3).grids() == (95, 47, 47, 23, 11, 11, 11, 11, 11)


def test_the_refusal_says_where_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"stem: a 3×3 filter of stride 2 on 96×96 pixels.*change the crop or stem"):
        MobileNetV2(replace(tiny_topology("C4"), stem_px=3))
    with pytest.raises(ValueError, match=r"stage 1: a 3×3 filter .* on 46×46 .* soften other strides than \(3, 5\)"):
        Topology(crop_px=94).grids()


def widths(network: MobileNetV2) -> list[int]:
    """Channels of the stem, every block and the head."""
    units = [network.stem, *(b.project for b in network.blocks if isinstance(b, InvertedResidual)), network.head]
    return [len(unit.convolution.group) * unit.convolution.out_fields for unit in units]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_conventional_network_has_the_same_shape(name: str) -> None:
    topology = TOPOLOGIES[name]
    conventional = replace(topology, group="C1")
    assert topology.grids() == conventional.grids()
    assert topology.grids()[-1] == {"dense": 3, "dense-inner": 6}.get(name, 11)
    for ours, theirs in zip(widths(MobileNetV2(topology)), widths(MobileNetV2(conventional)), strict=True):
        assert abs(ours - theirs) <= len(Group.parse(topology.group)) / 2


def test_a_layer_has_at_least_one_field() -> None:
    assert Topology(group="C12").fields(4) == 1


@pytest.mark.parametrize("name", ["C1", "C4", "C12", "D4", "D6"])
def test_the_logits_do_not_change_under_the_exact_subgroup(name: str, images: Patch) -> None:
    network = settled_network(tiny_topology(name), images).double()
    x = as_input(images).double()
    group = Group.parse(name)
    with torch.no_grad():
        logits = network(x)
        for h in group.exact_elements:
            assert (network(exact_turn(x, group, h)) - logits).abs().max() <= 1e-9
        if name == "C1":
            assert (network(x.rot90(1, (2, 3))) - logits).abs().max() > 1e-3
    assert logits.std(0).min() > 1e-3


def test_free_filters_are_equivariant_too(images: Patch) -> None:
    network = settled_network(tiny_topology("D4", free_filters=True), images[:4]).double()
    x = as_input(images[:4]).double()
    with torch.no_grad():
        assert (network(x.rot90(1, (2, 3)).flip(2)) - network(x)).abs().max() <= 1e-9


def test_what_lies_outside_the_disc_does_not_matter(images: Patch) -> None:
    network = settled_network(tiny_topology("C4"), images)
    x = as_input(images[:2])
    noise = torch.where(disc(96), x, torch.rand_like(x))
    with torch.no_grad():
        assert torch.equal(network(x), network(noise))


def test_shortcuts_stand_where_shapes_allow() -> None:
    blocks = list(MobileNetV2(tiny_topology("C4")).blocks)
    assert [b.shortcut for b in blocks if isinstance(b, InvertedResidual)] == [False, False, True, True]
    first = blocks[0]
    assert isinstance(first, InvertedResidual)
    assert first.expand is None
    assert isinstance(first.project, ConvNormAct)
    assert first.project.norm.linear


def test_quality_is_measured_in_the_disc_that_the_network_sees() -> None:
    inside = disc(96).numpy()[..., None].repeat(3, axis=2)
    shares = [tissue_statistics(np.where(inside, a, b).astype(np.uint8))[0] for a, b in ((100, 255), (255, 100))]
    assert shares == [1.0, 0.0]
