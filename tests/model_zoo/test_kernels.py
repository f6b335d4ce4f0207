"""The compiled loops give NumPy's bits, on this CPU and on others, and refuse what does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo import kernels
from model_zoo.golden import decode, golden_patches
from model_zoo.quality import compiled_sums, numpy_sums, tissue_statistics
from model_zoo.symmetry import Group
from model_zoo.turns import Patch, interpolated, numpy_interpolated, turn
from tests.conftest import ROOT
from tests.installed import uncounted

HAS_COMPILER = shutil.which(os.environ.get("CC", "cc")) is not None
needs_kernels = pytest.mark.skipif(not kernels.COMPILED, reason="installed without a C compiler")

DIGEST = """
import sys
from hashlib import sha256
import numpy as np
if sys.argv[1] == "numpy":
    sys.modules["model_zoo._kernels"] = None
elif sys.argv[1] == "portable":
    from pathlib import Path
    import model_zoo
    sys.path.append("scripts")
    import hatch_build
    folder = Path(sys.argv[2])
    assert hatch_build.compiled(Path.cwd(), "model_zoo", folder)
    model_zoo.__path__.insert(0, str(folder / "model_zoo"))
    import model_zoo._kernels
    assert Path(model_zoo._kernels.__file__).is_relative_to(folder)
from model_zoo import kernels
from model_zoo.quality import tissue_statistics
from model_zoo.symmetry import Group
from model_zoo.turns import turns
assert kernels.COMPILED == (sys.argv[1] != "numpy")
digest, group = sha256(), Group.parse("D12")
for patch in np.random.default_rng(16).integers(150, 256, (3, 96, 96, 3), np.uint8):
    digest.update(repr(tissue_statistics(patch)).encode())
    digest.update(turns(patch, group, range(len(group))))
print(digest.hexdigest())
"""


def noise() -> Patch:
    return np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)


def digest(loops: str, folder: Path, *emulator: str, **environment: str) -> str:
    """Of the measures and turns of some patches, in a process of its own.

    Args:
        loops: ``"compiled"``, ``"portable"`` (compiled to ``folder`` by this process) or ``"numpy"``.
    """
    command = [*emulator, sys.executable, "-c", DIGEST, loops, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=uncounted() | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    """Patches of few or many grey levels, of noise or in blocks, so that sums reach their bounds."""
    levels = np.array(draw(st.lists(st.integers(0, 255), min_size=1, max_size=20)), np.uint8)
    side = draw(st.sampled_from([1, 2, 3, 96]))
    chosen = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).choice(levels, (96 // side, 96 // side, 3))
    return np.ascontiguousarray(chosen.repeat(side, axis=0).repeat(side, axis=1))


@pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")
def test_the_loops_are_compiled_where_there_is_a_compiler() -> None:
    assert kernels.COMPILED


@needs_kernels
@settings(max_examples=200, deadline=None)
@given(patches())
def test_sums_are_those_of_numpy(patch: Patch) -> None:
    assert compiled_sums(patch) == numpy_sums(patch)


@needs_kernels
@settings(max_examples=200, deadline=None)
@given(patches(), st.sampled_from([30.0, 60.0, 45.0, 72.0, 360 / 99, 88.0]))
def test_rotations_are_those_of_numpy(patch: Patch, angle_deg: float) -> None:
    assert np.array_equal(interpolated(patch, angle_deg), numpy_interpolated(patch, angle_deg))


@needs_kernels
def test_tissue_has_the_same_sums_and_rotations() -> None:
    for name, png in golden_patches().items():
        patch = decode(name, png)
        assert compiled_sums(patch) == numpy_sums(patch)
        assert np.array_equal(interpolated(patch, 30.0), numpy_interpolated(patch, 30.0))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digest("numpy", tmp_path_factory.mktemp("numpy"))


@needs_kernels
def test_both_ways_have_the_same_bits(tmp_path: Path, expected: str) -> None:
    assert digest("compiled", tmp_path) == expected


@pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")
def test_code_without_vector_instructions_has_the_same_bits(tmp_path: Path, expected: str) -> None:
    assert digest("portable", tmp_path, CFLAGS="-U__SSE2__") == expected


@needs_kernels
@pytest.mark.parametrize("cpu", ["Nehalem", "Haswell"])
def test_other_cpus_have_the_same_bits(tmp_path: Path, cpu: str, expected: str) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: install the package qemu-user")
    assert digest("compiled", tmp_path, emulator, "-cpu", cpu) == expected


@pytest.mark.parametrize("shape", [(96, 96), (48, 192, 3), (96, 96, 4)])
def test_the_quality_of_what_is_no_patch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a patch is uint8"):
        tissue_statistics(np.zeros(shape, np.uint8))


def test_patches_that_are_not_contiguous_are_taken() -> None:
    patch = noise()
    flipped = patch[:, ::-1]
    assert tissue_statistics(flipped) == tissue_statistics(np.ascontiguousarray(flipped))
    group = Group.parse("C12")
    assert np.array_equal(turn(flipped, group, 1), turn(np.ascontiguousarray(flipped), group, 1))


@needs_kernels
def test_buffers_of_another_size_are_refused() -> None:
    patch, out = noise(), np.empty((96, 96, 3), np.uint8)
    density, places, weights = np.zeros(256, np.int32), np.zeros((9216, 2), np.int16), np.zeros((9216, 16), np.int16)
    with pytest.raises(ValueError, match="the patch has 27360 bytes, expected 27648"):
        kernels.quality_sums(patch[1:], density, 0)
    with pytest.raises(ValueError, match="the densities"):
        kernels.quality_sums(patch, density[1:], 0)
    with pytest.raises(ValueError, match="the places"):
        kernels.interpolated(patch, places[1:], weights, out)
    with pytest.raises(ValueError, match="the weights"):
        kernels.interpolated(patch, places, weights[1:], out)
    with pytest.raises(ValueError, match="the result"):
        kernels.permuted(patch, 0, 96, 1, out[1:])
    out.flags.writeable = False
    with pytest.raises((TypeError, BufferError)):
        kernels.permuted(patch, 0, 96, 1, out)


@needs_kernels
@pytest.mark.parametrize(
    ("first", "down", "right"), [(1, 96, 1), (0, 97, 1), (-1, 96, 1), (9215, -96, -2), (0, 2**31 - 1, 1)]
)
def test_no_permutation_leaves_the_patch(first: int, down: int, right: int) -> None:
    patch = noise()
    with pytest.raises(ValueError, match="leaves the patch"):
        kernels.permuted(patch, first, down, right, np.empty_like(patch))


@needs_kernels
def test_places_far_outside_are_clipped() -> None:
    patch, out = noise(), np.empty((96, 96, 3), np.uint8)
    places = np.full((9216, 2), 32767, np.int16)
    places[::2] = -32768
    weights = np.zeros((9216, 16), np.int16)
    weights[:, 0] = 2**14
    kernels.interpolated(patch, places, weights, out)
    assert {tuple(pixel) for pixel in out.reshape(-1, 3).tolist()} == {tuple(patch[0, 0]), tuple(patch[95, 95])}
