"""The slide's bounds: one in a hundred draws of the fitting patches is refused, and others are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_zoo.artifact import parse
from model_zoo.manifest import QualityReference
from model_zoo.slide_scope import SlideReference
from training.slide_scope import DRAWINGS, FALSE_ALARMS, Measured, as_json, fit, markdown, of_one_stain, refused


@pytest.fixture(scope="module")
def quality(artifact_path: Path) -> QualityReference:
    return parse(artifact_path.read_bytes())[1].quality


def patches(seed: int, texture: float = 0.0) -> Measured:
    """2,000 patches of 20 slides that differ in stain."""
    rng = np.random.default_rng(seed)
    slide = rng.normal(0, 0.02, (20, 3)).repeat(100, axis=0)
    density = np.array([0.24, 0.45, 0.24]) + slide + rng.normal(0, 0.02, (2000, 3))
    return Measured(rng.normal(texture, 1, (2000, 5)), density)


def test_one_in_a_hundred_draws_is_refused(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=400)
    assert reference == fit(patches(0), quality, "synthetic", slides=400)
    assert [bounds.patches for bounds in reference.bounds] == [16, 64, 256]
    assert max(refused(reference, patches(0), of_one_stain, slides=400)) <= 5 * FALSE_ALARMS


def test_another_texture_is_refused(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=400)
    assert refused(reference, patches(1, texture=5), of_one_stain, slides=20) == [1, 1, 1]


def test_a_reference_survives_its_file(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=50)
    assert SlideReference.model_validate_json(as_json(reference)) == reference


@pytest.mark.parametrize("name", DRAWINGS)
def test_draws_are_distinct_patches(name: str) -> None:
    for draw in DRAWINGS[name](patches(0), 64, 5, np.random.default_rng(0)):
        assert len(set(draw.tolist())) == 64


def test_the_table_has_a_column_for_each_number_of_patches(quality: QualityReference) -> None:
    reference = fit(patches(0), quality, "synthetic", slides=50)
    lines = markdown(reference, [("valid", [0.015, 0, 1])]).splitlines()
    assert lines[0] == "| slides drawn | 16 patches | 64 patches | 256 patches |"
    assert lines[-1] == "| valid | 1.5 % | 0.0 % | 100.0 % |"
