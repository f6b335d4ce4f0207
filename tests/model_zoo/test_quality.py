"""Quality measures: against plain formulas, and invariant to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.golden import decode, golden_patches
from model_zoo.manifest import QualityReference
from model_zoo.quality import measure, tissue_statistics
from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch, turn

REFERENCE = QualityReference(
    min_tissue_fraction=0.2,
    min_sharpness=50,
    max_stain_distance=3,
    stain_mean=(0.23, 0.38, 0.24),
    stain_precision=((400, 0, 0), (0, 100, 0), (0, 0, 400)),
)


def inside_the_disc(side: int = 96) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return np.asarray(x**2 + y**2 <= 48**2)


def blurred(patch: Patch, passes: int) -> Patch:
    values = patch.astype(float)
    for _ in range(passes):
        for axis in (0, 1):
            values = (np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)) / 4
    return np.asarray(np.rint(values), np.uint8)


@pytest.mark.parametrize("name", ["blank-1", "normal-2", "tumour-3"])
def test_all_measures_have_the_same_bits_however_the_patch_lies(name: str) -> None:
    patch, group = decode(name, golden_patches()[name]), Group.parse("D4")
    expected = measure(patch, REFERENCE)
    assert {measure(turn(patch, group, g), REFERENCE) for g in range(8)} == {expected}


def test_measures_are_invariant_for_random_pixels() -> None:
    group = Group.parse("D4")
    for patch in np.random.default_rng(3).integers(0, 256, (20, 96, 96, 3), dtype=np.uint8):
        assert {tissue_statistics(turn(patch, group, g)) for g in range(8)} == {tissue_statistics(patch)}


@pytest.mark.parametrize("kind", ["tumour", "normal"])
def test_measures_are_those_of_the_plain_formulas(kind: str) -> None:
    patch = synthetic_patch("tumour" if kind == "tumour" else "normal", 5)
    density = -np.log10((patch[inside_the_disc()].astype(float) + 1) / 256)
    tissue = density.mean(axis=1) > 0.08
    grey = patch.astype(float) @ [0.299, 0.587, 0.114]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]

    fraction, sharpness, mean = tissue_statistics(patch)

    assert fraction == pytest.approx(tissue.mean(), abs=2e-3)
    assert sharpness == pytest.approx(laplacian[inside_the_disc()[1:-1, 1:-1]].var(), rel=1e-2)
    assert mean == pytest.approx(density[tissue].mean(axis=0), rel=2e-3)


def test_only_the_disc_is_looked_at() -> None:
    patch = synthetic_patch("normal", 1)
    painted = np.where(inside_the_disc()[..., None], patch, np.uint8(0))
    fraction, _, mean = tissue_statistics(patch)
    assert tissue_statistics(painted)[::2] == (fraction, mean)


def test_tissue_of_the_usual_stain_is_assessable() -> None:
    for kind in ("tumour-1", "tumour-2", "normal-1", "normal-2"):
        quality = measure(decode(kind, golden_patches()[kind]), REFERENCE)
        assert quality.assessable
        assert quality.tissue_fraction > 0.9


def test_glass_has_no_tissue_and_no_stain() -> None:
    quality = measure(np.full((96, 96, 3), 245, np.uint8), REFERENCE)
    assert (quality.tissue_fraction, quality.sharpness, quality.stain_distance) == (0.0, 0.0, None)
    assert not quality.assessable


def test_blur_makes_a_patch_not_assessable() -> None:
    patch = synthetic_patch("tumour", 2)
    sharp, soft = measure(patch, REFERENCE), measure(blurred(patch, 12), REFERENCE)
    assert sharp.assessable
    assert soft.sharpness < REFERENCE.min_sharpness < sharp.sharpness
    assert not soft.assessable


def test_a_foreign_stain_makes_a_patch_not_assessable() -> None:
    green = np.ascontiguousarray(synthetic_patch("tumour", 2)[..., [1, 0, 2]])
    quality = measure(green, REFERENCE)
    assert quality.stain_distance is not None
    assert quality.stain_distance > REFERENCE.max_stain_distance
    assert not quality.assessable


def test_the_stain_distance_is_mahalanobis() -> None:
    patch = synthetic_patch("normal", 4)
    _, _, mean = tissue_statistics(patch)
    assert mean is not None
    difference = np.subtract(mean, REFERENCE.stain_mean)
    expected = np.sqrt(difference @ np.array(REFERENCE.stain_precision) @ difference)
    assert measure(patch, REFERENCE).stain_distance == pytest.approx(expected)
