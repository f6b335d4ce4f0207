"""Synthetic patches: their measures, and the stored golden ones."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from model_zoo.golden import decode, golden_patches
from model_zoo.quality import tissue_statistics
from model_zoo.synthetic import Kind, synthetic_patch

KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_patches_and_others_do_not(kind: Kind) -> None:
    patch = synthetic_patch(kind, 11)
    assert patch.shape == (96, 96, 3)
    assert patch.dtype == np.uint8
    assert np.array_equal(patch, synthetic_patch(kind, 11))
    assert not np.array_equal(patch, synthetic_patch(kind, 12))


@pytest.mark.parametrize("seed", range(5))
def test_glass_is_nearly_white(seed: int) -> None:
    patch = synthetic_patch("blank", seed)
    assert patch.min() > 235
    assert tissue_statistics(patch)[0] == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["tumour", "normal"])
def test_tissue_absorbs_like_haematoxylin_and_eosin(kind: Kind, seed: int) -> None:
    fraction, _, density = tissue_statistics(synthetic_patch(kind, seed))
    assert fraction > 0.9
    assert density is not None
    red, green, blue = density
    assert green > red > 0.15
    assert green > blue > 0.15


def nuclear_share_and_edges(kind: Kind) -> tuple[float, float]:
    """Share of pixels in nuclei, and boundary pixels for each nuclear pixel: small where nuclei are large."""
    dark = np.stack([synthetic_patch(kind, seed)[..., 0] < 150 for seed in range(6)])
    edges = (dark[:, 1:] != dark[:, :-1]).sum() + (dark[:, :, 1:] != dark[:, :, :-1]).sum()
    return float(dark.mean()), float(edges / dark.sum())


def test_nuclei_of_tumour_are_larger() -> None:
    tumour_share, tumour_edges = nuclear_share_and_edges("tumour")
    normal_share, normal_edges = nuclear_share_and_edges("normal")
    assert 0.2 < normal_share < 0.8
    assert 0.2 < tumour_share < 0.8
    assert tumour_edges < 0.8 * normal_edges


@pytest.mark.parametrize("name", sorted(golden_patches()))
def test_the_golden_patches_are_those_of_the_generator(name: str) -> None:
    kind, seed = name.split("-")
    (known,) = (k for k in KINDS if k == kind)
    generated = synthetic_patch(known, int(seed))
    assert np.abs(decode(name, golden_patches()[name]).astype(int) - generated).max() <= 1


def test_there_are_eight_golden_patches() -> None:
    assert len(golden_patches()) == 8
