"""Shifts, shifted JPEG grids and zoom are correct, and so are the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.network import Network
from tests.training.tiny import synthetic_patches
from training.data import Patches
from training.study import stability
from training.study.jpeg import encode_again
from training.study.stability import jpeg_on_shifted_grid, perturbations, run, section, shift, tiles, zoom

PATCHES = synthetic_patches(6)


@pytest.fixture(scope="module")
def networks(artifact_path: Path) -> dict[str, Network]:
    return {"INT8": Network(artifact_path.read_bytes())}


def test_a_shift_moves_pixels_and_reflects_edges() -> None:
    image = PATCHES.images[0]
    right = shift(image, 2, 0)
    assert np.array_equal(right[:, 2:], image[:, :-2])
    assert np.array_equal(right[:, 0], image[:, 2])
    assert np.array_equal(shift(image, 0, -3)[:-3], image[3:])


def test_every_perturbation_gives_a_patch() -> None:
    for several in perturbations().values():
        for perturb in several:
            changed = perturb(PATCHES.images[1])
            assert changed.shape == (96, 96, 3)
            assert changed.dtype == np.uint8


def test_a_zoom_by_one_is_the_identity_and_the_grid_matters() -> None:
    image = PATCHES.images[1]
    assert np.array_equal(zoom(image, 1.0), image)
    assert not np.array_equal(jpeg_on_shifted_grid(image), encode_again(image, 75))


def test_figures_are_those_of_the_answers(networks: dict[str, Network]) -> None:
    document: Any = run(networks, PATCHES, "valid", None)
    row = next(r for r in document["rows"] if r["name"] == "shift 1 px")
    logits = networks["INT8"].logits(PATCHES.images)
    before = logits[:, 1] > logits[:, 0]
    flips = []
    for x, y in stability.DIRECTIONS:
        moved = networks["INT8"].logits(np.stack([shift(image, x, y) for image in PATCHES.images]))
        flips.append((moved[:, 1] > moved[:, 0]) != before)
    assert row["figures"]["INT8"]["flipped"]["value"] == pytest.approx(np.mean(flips))
    text = "\n".join(section(document))
    assert "6 patches of valid" in text
    assert "| shift 8 px |" in text


def test_a_slide_is_cut_at_the_models_scale(shared: Path, networks: dict[str, Network]) -> None:
    slide = shared / "slides" / "CMU-1-Small-Region.svs"
    found = tiles(slide, 0.97)
    assert found.shape[1:] == (96, 96, 3)
    assert len(found) == 33 * 45  # 1142 × 1526 px at this scale
    document: Any = run(networks, Patches(PATCHES.images[:2], PATCHES.labels[:2], "two"), "valid", slide)
    figures = document["slide"]["networks"]["INT8"]
    assert figures["tiles"] == len(found)
    assert 0 < figures["assessable"] < len(found)
    assert "Other tissue" in "\n".join(section(document))
