"""The slide's bounds: one in a hundred draws of the fitting patches is refused, and others are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_zoo.artifact import parse
from model_zoo.manifest import QualityReference
from model_zoo.slide_scope import SlideReference, slide_figures
from training.slide_scope import DRAWS, FALSE_ALARMS, Measured, as_json, false_alarms, fit, markdown


@pytest.fixture(scope="module")
def quality(artifact_path: Path) -> QualityReference:
    return parse(artifact_path.read_bytes())[1].quality


def patches(seed: int, sharpness: float = 9.7) -> Measured:
    """2,000 patches of 20 slides that differ in stain."""
    rng = np.random.default_rng(seed)
    slide = rng.normal(0, 0.02, (20, 3)).repeat(100, axis=0)
    density = np.array([0.24, 0.45, 0.24]) + slide + rng.normal(0, 0.02, (2000, 3))
    return Measured(np.exp(rng.normal(sharpness, 0.5, 2000)), density)


def test_one_in_a_hundred_draws_is_refused(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=400)
    assert reference == fit(patches(0), quality, "synthetic", slides=400)
    assert [bounds.patches for bounds in reference.bounds] == [16, 64, 256]
    shares = {(size, drawn): share for size, drawn, share in false_alarms(reference, patches(0), slides=400)}
    for bounds in reference.bounds:
        assert 0 <= shares[bounds.patches, "of one stain"] <= 4 * FALSE_ALARMS


def test_blurred_patches_are_refused(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=400)
    assert all(share == 1 for _, _, share in false_alarms(reference, patches(1, sharpness=7), slides=20))


def test_a_reference_survives_its_file(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=50)
    assert SlideReference.model_validate_json(as_json(reference)) == reference


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_distinct_patches(name: str) -> None:
    for draw in DRAWS[name](patches(0), 64, 5, np.random.default_rng(0)):
        assert len(set(draw.tolist())) == 64


def test_figures_are_of_the_patches(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=50)
    mean = np.array([quality.stain_mean] * 10)
    figures = slide_figures(np.arange(1.0, 11.0), mean, reference)
    assert figures == {"median_sharpness": 5.5, "upper_sharpness": pytest.approx(9.1), "median_stain_distance": 0.0}


def test_the_table_names_how_patches_were_drawn() -> None:
    assert markdown([(16, "at random", 0.015)]).splitlines()[-1] == "| 16 | at random | 1.5 % |"
