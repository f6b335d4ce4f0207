"""e2cnn 0.2.3 works on current NumPy, only with the patch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from e2cnn.kernels import irreps_basis, utils

from model_zoo.symmetry import Group
from training.compat import patch_e2cnn
from training.layers import lifting_basis

KERNEL = """
from e2cnn import gspaces
from e2cnn.nn import FieldType, R2Conv
space = gspaces.FlipRot2dOnR2(4)
R2Conv(FieldType(space, [space.trivial_repr]), FieldType(space, [space.regular_repr]), 3)
"""


@pytest.mark.parametrize("name", ["D4", "D6", "D12"])
def test_reflection_kernels_can_be_built(name: str) -> None:
    group = Group.parse(name)
    basis = lifting_basis.__wrapped__(group, 3)
    assert basis.shape == (6, len(group), 3, 3)
    assert basis.abs().amax((1, 2, 3)).min() > 0.05


def test_without_the_patch_they_cannot() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", KERNEL], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "copy" in done.stderr.splitlines()[-1] or "tostring" in done.stderr


def test_patching_again_changes_nothing() -> None:
    before = lifting_basis.__wrapped__(Group.parse("D4"), 3)
    patch_e2cnn()
    patch_e2cnn()
    assert before.equal(lifting_basis.__wrapped__(Group.parse("D4"), 3))
    assert utils.np.array([1.0], copy=False).tolist() == [1.0]
    assert utils.np.cos is np.cos


def test_equal_bases_keep_equal_hashes() -> None:
    """e2cnn finds bases that it has built already by their hash."""
    made = [
        irreps_basis.R2FlipsDiscreteRotationsSolution(_dihedral(), (1, 1), (1, 1), axis=np.pi / 2, max_frequency=2)
        for _ in range(2)
    ]
    assert hash(made[0]) == hash(made[1])


def _dihedral() -> object:
    from e2cnn.group import dihedral_group

    return dihedral_group(4)
