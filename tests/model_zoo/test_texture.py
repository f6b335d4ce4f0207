"""Texture: of the tissue, the same for every quarter turn, and hardly moved by focus."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from model_zoo.golden import decode, golden_patches
from model_zoo.slide_scope import SlideReference, slide_reference
from model_zoo.texture import MEASURES, Floats, texture
from model_zoo.turns import Patch


def golden(name: str) -> Patch:
    return decode(name, golden_patches()[name])


def measured(patch: Patch) -> Floats:
    found = texture(patch)
    assert found is not None
    return found


def test_turns_do_not_change_it() -> None:
    expected = measured(golden("normal-1"))
    assert expected.shape == (len(MEASURES),)
    for quarters in range(4):
        turned = np.ascontiguousarray(np.rot90(golden("normal-1"), quarters))
        np.testing.assert_allclose(measured(turned), expected, atol=1e-12)


def test_glass_has_none() -> None:
    assert texture(np.full((96, 96, 3), 255, dtype=np.uint8)) is None


def test_one_colour_is_finite() -> None:
    assert np.isfinite(measured(np.full((96, 96, 3), 100, dtype=np.uint8))).all()


def test_dark_blocks_are_counted() -> None:
    half = np.full((96, 96, 3), 180, dtype=np.uint8)
    half[:48, :, 0] = 60
    assert measured(half)[MEASURES.index("dark_share")] == 0.5


def test_focus_moves_it_less_than_another_patch_does() -> None:
    patch = golden("normal-1")
    soft = np.asarray(Image.fromarray(patch).filter(ImageFilter.GaussianBlur(0.6)))
    precision = np.array(slide_reference().bounds[0].texture_precision)
    by_focus, by_kind = (measured(other) - measured(patch) for other in (soft, golden("tumour-1")))
    assert by_focus @ precision @ by_focus < by_kind @ precision @ by_kind


def test_bounds_are_those_of_the_largest_number_of_patches() -> None:
    reference = slide_reference()
    sizes = [bounds.patches for bounds in reference.bounds]
    for size in sizes:
        for patches in (size, size + 1):
            found = reference.bounds_for(patches)
            assert found is not None
            assert found.patches == size
    assert reference.bounds_for(sizes[0] - 1) is None


def test_sizes_must_rise() -> None:
    raw = slide_reference().model_dump(mode="json")
    raw["bounds"] = raw["bounds"][::-1]
    with pytest.raises(ValueError, match="do not rise"):
        SlideReference.model_validate(raw)
