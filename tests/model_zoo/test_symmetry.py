"""The groups: axioms, e2cnn's order, exact subgroups and their cosets."""

from __future__ import annotations

from itertools import product

import pytest

from model_zoo.symmetry import Element, Group

NAMES = ["C1", "C2", "C3", "C4", "C6", "C8", "C12", "D1", "D2", "D3", "D4", "D5", "D6", "D8", "D12"]


@pytest.fixture(params=NAMES)
def group(request: pytest.FixtureRequest) -> Group:
    return Group.parse(request.param)


def test_a_name_reads_back(group: Group) -> None:
    assert Group.parse(group.name) == group


@pytest.mark.parametrize("name", ["", "C0", "c4", "E4", "C-1", "C100", "C4 ", "C04", "D", "4"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not C or D followed by 1 to 99"):
        Group.parse(name)


def test_a_group_without_rotations_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rotation, got n=0"):
        Group(0)


def test_the_elements_stand_in_order() -> None:
    assert Group.parse("D2").elements == (Element(False, 0), Element(False, 1), Element(True, 0), Element(True, 1))
    assert Group.parse("C12").angles_deg == tuple(30.0 * k for k in range(12))
    assert Group.parse("D3").reflected == (False, False, False, True, True, True)


def test_it_is_a_group(group: Group) -> None:
    size = range(len(group))
    for g in size:
        assert group.product(0, g) == group.product(g, 0) == g
        assert group.product(g, group.inverse(g)) == group.product(group.inverse(g), g) == 0
        assert sorted(group.product(g, h) for h in size) == list(size)
    for a, b, c in product(size, repeat=3):
        assert group.product(group.product(a, b), c) == group.product(a, group.product(b, c))


def test_relative_solves_for_the_right_factor(group: Group) -> None:
    for g, h in product(range(len(group)), repeat=2):
        assert group.product(g, group.relative[g][h]) == h


@pytest.mark.parametrize(
    ("name", "exact"),
    [("C1", "C1"), ("C3", "C1"), ("C6", "C2"), ("C12", "C4"), ("D5", "D1"), ("D6", "D2"), ("D8", "D4"), ("D12", "D4")],
)
def test_the_exact_subgroup(name: str, exact: str) -> None:
    assert Group.parse(name).exact_subgroup.name == exact


def test_exact_elements_multiply_as_the_exact_subgroup_does(group: Group) -> None:
    exact = group.exact_elements
    for i, j in product(range(len(exact)), repeat=2):
        assert group.product(exact[i], exact[j]) == exact[group.exact_subgroup.product(i, j)]


def test_cosets_partition_the_group(group: Group) -> None:
    cosets = [{group.product(h, r) for h in group.exact_elements} for r in group.coset_representatives]
    assert sorted(g for coset in cosets for g in coset) == list(range(len(group)))
    assert group.coset_representatives[0] == 0
    for representative, coset in zip(group.coset_representatives, cosets, strict=True):
        assert {group.coset_of[g] for g in coset} == {representative} == {min(coset)}


def test_representatives_are_rotations(group: Group) -> None:
    assert not any(group.reflected[r] for r in group.coset_representatives)
