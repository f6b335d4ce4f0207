"""What each kind of orbit measures and implies, and its cost."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.golden import Logits
from model_zoo.network import Network
from model_zoo.orbit import Rotations, measure_orbit
from model_zoo.symmetry import Group
from model_zoo.turns import Patch, turns


class Counted:
    """A network that says how many patches it was asked."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.patches = 0

    def __call__(self, patches: Patch) -> Logits:
        self.patches += len(patches)
        return self.network.logits(patches)


def group_of(network: Network) -> tuple[Group, Group]:
    return Group.parse(network.manifest.group.name), Group.parse(network.manifest.exact_subgroup)


@pytest.mark.parametrize(("rotations", "cost"), [("full", 6), ("exact", 4), ("none", 1), ("all", 12)])
def test_c12_costs_what_it_must(network: Network, tumour: Patch, rotations: str, cost: int) -> None:
    counted = Counted(network)
    measure_orbit(tumour, Group.parse("C12"), Group.parse("C4"), Rotations(rotations), counted)
    assert counted.patches == cost


def test_what_full_implies_is_what_all_measures(network: Network, tumour: Patch) -> None:
    full = measure_orbit(tumour, *group_of(network), Rotations.FULL, network.logits)
    everything = measure_orbit(tumour, *group_of(network), Rotations.ALL, network.logits)
    assert full.exact
    assert everything.exact
    assert full.logits.tobytes() == everything.logits.tobytes()
    assert full.source.count("implied") == 6
    assert set(everything.source) == {"measured"}


def test_exact_measures_the_exact_subgroup_and_implies_nothing(network: Network, tumour: Patch) -> None:
    orbit = measure_orbit(tumour, *group_of(network), Rotations.EXACT, network.logits)
    assert orbit.exact
    assert orbit.known == Group.parse("C12").exact_elements
    assert set(orbit.source) == {"measured", "not_measured"}


def test_none_measures_the_patch_as_given(network: Network, tumour: Patch) -> None:
    orbit = measure_orbit(tumour, *group_of(network), Rotations.NONE, network.logits)
    assert (orbit.exact, orbit.known) == (None, (0,))
    assert np.array_equal(orbit.logits[0], network.logits(tumour[None])[0])


def top_left(patches: Patch) -> Logits:
    """A classifier that does depend on how the patch lies."""
    mean = patches[:, :48, :48].mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([mean, -mean], axis=1).astype(np.float32)


@pytest.mark.parametrize("name", ["C12", "D12", "D4", "C8"])
def test_without_exactness_nothing_is_implied(name: str, tumour: Patch) -> None:
    group = Group.parse(name)
    orbit = measure_orbit(tumour, group, group.exact_subgroup, Rotations.FULL, top_left)
    assert orbit.exact is False
    assert set(orbit.source) == {"measured"}
    assert np.array_equal(orbit.logits, top_left(turns(tumour, group, range(len(group)))))


@pytest.mark.parametrize("rotations", ["full", "all"])
def test_a_network_that_claims_no_exactness_is_measured_everywhere(rotations: str, tumour: Patch) -> None:
    orbit = measure_orbit(tumour, Group.parse("C12"), Group.parse("C1"), Rotations(rotations), top_left)
    assert orbit.exact is None
    assert set(orbit.source) == {"measured"}


def test_its_exact_orbit_is_the_patch_as_given(tumour: Patch) -> None:
    orbit = measure_orbit(tumour, Group.parse("C12"), Group.parse("C1"), Rotations.EXACT, top_left)
    assert (orbit.exact, orbit.known) == (None, (0,))


def colourfulness(patches: Patch) -> Logits:
    """A classifier that is exactly invariant under all turns that permute pixels: it adds integers."""
    total = patches.astype(np.int64).sum(axis=(1, 2))
    logits: Logits = (total[:, :2] - total[:, 2:]).astype(np.float32)
    return logits


@pytest.mark.parametrize(("name", "cost"), [("C12", 6), ("D12", 10), ("D4", 8), ("C8", 5), ("C6", 4)])
def test_every_group_is_completed_from_its_cosets(name: str, cost: int, tumour: Patch) -> None:
    group = Group.parse(name)
    orbit = measure_orbit(tumour, group, group.exact_subgroup, Rotations.FULL, colourfulness)
    assert orbit.exact
    assert orbit.source.count("measured") == cost
    assert np.array_equal(orbit.logits, colourfulness(turns(tumour, group, range(len(group)))))
