"""``model_zoo.symmetry`` orders and multiplies group elements as e2cnn does."""

from __future__ import annotations

from itertools import product

import pytest
from e2cnn import gspaces

from model_zoo.symmetry import Group


@pytest.mark.parametrize("name", ["C4", "C12", "D4", "D6", "D12"])
def test_order_products_and_inverses_are_e2cnns(name: str) -> None:
    group = Group.parse(name)
    space = gspaces.FlipRot2dOnR2(group.n) if group.reflections else gspaces.Rot2dOnR2(group.n)
    theirs = space.fibergroup.elements
    ours = [(int(e.reflected), e.step) if group.reflections else e.step for e in group.elements]
    assert [tuple(e) if group.reflections else e for e in theirs] == ours
    for g, h in product(range(len(group)), repeat=2):
        assert theirs.index(space.fibergroup.combine(theirs[g], theirs[h])) == group.product(g, h)
    for g in range(len(group)):
        assert theirs.index(space.fibergroup.inverse(theirs[g])) == group.inverse(g)
