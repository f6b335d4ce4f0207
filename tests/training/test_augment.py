"""Augmentation: exactly eight turns; stain jitter and focus without a preferred direction."""

from __future__ import annotations

import numpy as np
import torch

from model_zoo.turns import Patch
from tests.training.tiny import as_input
from training.augment import TWIN_SHIFT_PX, augmented, jitter_stain, reencode, refocus, shift_and_zoom, turn_at_random
from training.recipe import Recipe


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_each_image_gets_one_of_the_eight_turns_and_all_occur() -> None:
    image = torch.rand(3, 6, 6)
    eight = [m.rot90(k, (1, 2)) for m in (image, image.flip(2)) for k in range(4)]
    turned = turn_at_random(image.expand(400, 3, 6, 6), generator())
    counts = torch.tensor([[torch.equal(t, e) for e in eight] for t in turned]).sum(0)
    assert counts.sum() == 400
    assert counts.min() > 25


def test_images_keep_their_places() -> None:
    images = torch.arange(50.0).view(50, 1, 1, 1).expand(50, 3, 4, 4)
    assert torch.equal(turn_at_random(images, generator()), images)


def test_a_generator_makes_it_repeatable(images: Patch) -> None:
    x = as_input(images)
    assert torch.equal(turn_at_random(x, generator()), turn_at_random(x, generator()))
    assert torch.equal(jitter_stain(x, 0.1, generator()), jitter_stain(x, 0.1, generator()))
    assert torch.equal(refocus(x, 1.0, generator()), refocus(x, 1.0, generator()))


def test_no_strength_is_the_identity(images: Patch) -> None:
    x = as_input(images).clamp(min=1 / 255)
    assert (jitter_stain(x, 0.0) - x).abs().max() < 1e-3
    assert torch.equal(refocus(x, 0.0), x)


def test_jittered_values_stay_between_0_and_1(images: Patch) -> None:
    x = torch.cat([as_input(images), torch.zeros(1, 3, 96, 96), torch.ones(1, 3, 96, 96)])
    jittered = jitter_stain(x, 0.5, generator())
    assert jittered.isfinite().all()
    assert jittered.min() >= 0
    assert jittered.max() <= 1
    assert (jittered[: len(images)] - x[: len(images)]).abs().amax((1, 2, 3)).min() > 0.01


def test_jitter_commutes_with_quarter_turns_and_reflections(images: Patch) -> None:
    x = as_input(images)
    turned = x.flip(3).rot90(1, (2, 3))
    jittered = jitter_stain(x, 0.1, generator()).flip(3).rot90(1, (2, 3))
    torch.testing.assert_close(jitter_stain(turned, 0.1, generator()), jittered, rtol=0, atol=1e-6)


def test_focus_blurs_some_images_and_sharpens_others(images: Patch) -> None:
    x = as_input(images[:1]).expand(200, 3, 96, 96)
    refocused = refocus(x, 1.0, generator())
    assert refocused.min() >= 0
    assert refocused.max() <= 1
    contrast = refocused.diff(dim=3).abs().mean((1, 2, 3)) / x.diff(dim=3).abs().mean((1, 2, 3))
    assert contrast.max() > 1.05
    assert contrast.min() < 0.7
    assert 40 < (contrast > 1).sum() < 100
    torch.testing.assert_close(refocused.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=0.02)


def test_focus_commutes_with_quarter_turns_and_reflections(images: Patch) -> None:
    x = as_input(images)
    refocused = refocus(x, 1.0, generator()).flip(3).rot90(1, (2, 3))
    torch.testing.assert_close(refocus(x.flip(3).rot90(1, (2, 3)), 1.0, generator()), refocused, rtol=0, atol=1e-6)


def test_shifts_move_every_patch_by_whole_pixels(images: Patch) -> None:
    moved = shift_and_zoom(images, 8, 0.0, seed=3)
    for before, after in zip(images, moved, strict=True):
        padded = np.pad(before, ((8, 8), (8, 8), (0, 0)), "reflect")
        found = [
            (top, left)
            for top in range(17)
            for left in range(17)
            if np.array_equal(padded[top : top + 96, left : left + 96], after)
        ]
        assert found
    assert not np.array_equal(moved, images)
    assert np.array_equal(moved, shift_and_zoom(images, 8, 0.0, seed=3))


def test_nothing_asked_moves_nothing(images: Patch) -> None:
    assert np.array_equal(shift_and_zoom(images, 0, 0.0, seed=0), images)
    assert np.array_equal(reencode(images, 0.0, seed=0), images)


def test_a_zoom_stays_near_the_patch(images: Patch) -> None:
    zoomed = shift_and_zoom(images, 0, 0.05, seed=1)
    centre = np.abs(zoomed[:, 44:52, 44:52].astype(int) - images[:, 44:52, 44:52]).mean()
    assert not np.array_equal(zoomed, images)
    assert centre < np.abs(np.roll(images, 1, 0)[:, 44:52, 44:52].astype(int) - images[:, 44:52, 44:52]).mean()


def test_a_share_is_encoded_again(images: Patch) -> None:
    encoded = reencode(images, 0.5, seed=2)
    changed = (encoded != images).any((1, 2, 3))
    assert 0 < changed.sum() < len(images)
    assert np.abs(encoded.astype(int) - images).mean() < 10


def test_twins_differ_in_position_and_encoding_alone(images: Patch) -> None:
    x = torch.from_numpy(images)
    first, second = augmented(x, Recipe(consistency=1.0, refocus=1.0)).chunk(2)
    moved = 0
    for one, other in zip(first, second, strict=True):
        inner = one[:, TWIN_SHIFT_PX + 2 : -TWIN_SHIFT_PX - 2, TWIN_SHIFT_PX + 2 : -TWIN_SHIFT_PX - 2]
        height, width = inner.shape[1:]
        places = [(y, x) for y in range(96 - height + 1) for x in range(96 - width + 1)]
        errors = [(other[:, y : y + height, x : x + width] - inner).abs().max().item() for y, x in places]
        assert min(errors) < 1e-5
        moved += errors[places.index((TWIN_SHIFT_PX + 2,) * 2)] > 1e-5
    assert moved


def test_a_batch_without_consistency_has_no_twins(images: Patch) -> None:
    assert augmented(torch.from_numpy(images), Recipe(jpeg=0.5, shift_px=8, zoom=0.05)).shape == (
        len(images),
        3,
        96,
        96,
    )
