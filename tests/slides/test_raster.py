"""Pixels at the model's scale: which level, how resampled, and the same bytes whatever the blocks."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from openslide import OpenSlide

from slides import kernels
from slides.errors import SlideError
from slides.raster import Raster, Taps, compiled_averages, numpy_averages, plan
from slides.reader import GLASS, Level, Reader, Rectangle
from tests.slides.made import tissue, write_svs

WHOLE = Rectangle(0, 0, 4000, 3000)


def levels(*downsamples: float) -> list[Level]:
    return [Level(floor(4000 / each), floor(3000 / each), each) for each in downsamples]


@pytest.mark.parametrize(
    ("mpp", "downsamples", "level", "factor"),
    [
        (0.97, (1, 4), 0, 1.0),
        (0.985, (1, 4), 0, 1.0),
        (0.485, (1, 2, 4), 1, 1.0),
        (0.2425, (1, 2, 4, 8), 2, 1.0),
        (0.499, (1, 2), 0, 0.97 / 0.499),
        (0.25, (1, 4, 16), 0, 0.97 / 0.25),
        (0.23, (1, 2, 4, 8), 2, 0.97 / 0.92),
        (0.2425, (1, 4.0001, 16), 0, 4.0),
    ],
)
def test_a_level_near_the_scale_is_used_as_stored_else_the_next_finer_one(
    mpp: float, downsamples: tuple[float, ...], level: int, factor: float
) -> None:
    found = plan(levels(*downsamples), WHOLE, mpp, 0.97)
    assert found.level == level
    assert found.factor == pytest.approx(factor)
    assert found.filter == ("none" if found.factor == 1 else "area")
    assert found.microns_per_pixel == pytest.approx(mpp * found.ratio)


@pytest.mark.parametrize("mpp", [0.9895, 1.2, 4.0])
def test_a_coarser_slide_is_refused(mpp: float) -> None:
    with pytest.raises(SlideError, match=f"the slide has {mpp:.4g} microns per pixel.*scan the slide again"):
        plan(levels(1, 4), WHOLE, mpp, 0.97)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raster") / "slide.svs"
    return write_svs(path, tissue(["tn.t", "ntt.", "..nn"], 1.944), 0.499, compression="zlib")


@pytest.fixture
def raster(slide: Path) -> Raster:
    reader = Reader(slide)
    return Raster(reader, plan(reader.levels, reader.bounds, 0.499, 0.97))


def test_every_block_has_the_same_bytes(raster: Raster) -> None:
    border = 40
    width, height = raster.plan.width + 2 * border, raster.plan.height + 2 * border
    whole, unreadable = raster.read(Rectangle(-border, -border, width, height))
    assert unreadable is None
    rng = np.random.default_rng(3)
    for _ in range(60):
        w, h = rng.integers(1, 200, 2).tolist()
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        block, _ = raster.read(Rectangle(x - border, y - border, w, h))
        assert np.array_equal(block, whole[y : y + h, x : x + w])


def test_a_pixel_is_the_mean_over_the_area_that_it_covers(raster: Raster) -> None:
    stored = raster.reader.read(0, Rectangle(0, 0, 300, 300))[0][..., 2::-1].astype(float)
    made, _ = raster.read(Rectangle(0, 0, 150, 150))
    factor = Fraction(raster.plan.factor)
    cover = np.zeros((150, 300))
    for pixel in range(150):
        low = pixel * factor
        for source in range(floor(low), ceil(low + factor)):
            left = max(float(low), source)
            cover[pixel, source] = (min(float(low + factor), source + 1) - left) / float(factor)
    exact = np.einsum("ai,bj,ijc->abc", cover, cover, stored, optimize=True)
    assert np.abs(made - exact).max() <= 1
    assert abs((made - exact).mean()) < 0.01


def test_a_level_as_stored_keeps_its_bytes(tmp_path: Path) -> None:
    pixels = tissue(["tn", "nt"])
    reader = Reader(write_svs(tmp_path / "slide.svs", pixels, 0.96, compression="zlib"))
    raster = Raster(reader, plan(reader.levels, reader.bounds, 0.96, 0.97))
    made, _ = raster.read(Rectangle(-7, 5, 150, 100))
    assert np.array_equal(made[:, 7:], pixels[5:105, :143])
    assert (made[:, :7] == GLASS).all()


def test_a_stored_second_level_keeps_its_bytes(tmp_path: Path) -> None:
    pixels = tissue(["tnt", "ntn"], 2)
    reader = Reader(write_svs(tmp_path / "slide.svs", pixels, 0.485, levels=(2,), compression="zlib"))
    raster = Raster(reader, plan(reader.levels, reader.bounds, 0.485, 0.97))
    assert (raster.plan.level, raster.plan.filter) == (1, "none")
    whole, _ = raster.read(Rectangle(0, 0, raster.plan.width, raster.plan.height))
    mean = pixels.reshape(len(pixels) // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    assert np.abs(whole - mean).max() <= 0.5
    part, _ = raster.read(Rectangle(31, 17, 101, 99))
    assert np.array_equal(part, whole[17:116, 31:132])


def test_the_rim_is_glass(raster: Raster) -> None:
    made, _ = raster.read(Rectangle(raster.plan.width, -50, 40, 60))
    assert (made[:, 1:] == GLASS).all()
    assert (made[:49] == GLASS).all()


def test_pixels_are_those_that_openslide_gives(slide: Path) -> None:
    with Reader(slide) as reader, OpenSlide(slide) as opened:
        found, _ = reader.read(0, Rectangle(100, 50, 300, 200))
        assert np.array_equal(found[..., 2::-1], np.array(opened.read_region((100, 50), 0, (300, 200)))[..., :3])


@pytest.mark.skipif(not kernels.COMPILED, reason="no C compiler")
@pytest.mark.parametrize(("mpp", "width", "height"), [(0.499, 61, 7), (0.25, 1, 1), (0.9, 33, 32), (0.0501, 5, 3)])
def test_the_compiled_means_are_those_of_numpy(mpp: float, width: int, height: int) -> None:
    how = plan(levels(1), WHOLE, mpp, 0.97)
    across, down = Taps.of(-13, width, how), Taps.of(5, height, how)
    pixels = np.random.default_rng(1).integers(0, 256, (down.length, across.length, 4), dtype=np.uint8)
    pixels[: down.length // 2, : across.length // 2] = 255
    made = np.zeros((2, height, width, 3), np.uint8)
    compiled_averages(pixels, across, down, made[0])
    numpy_averages(pixels, across, down, made[1])
    assert np.array_equal(made[0], made[1])


@pytest.mark.skipif(not kernels.COMPILED, reason="no C compiler")
def test_the_compiled_means_refuse_pixels_that_are_not_there() -> None:
    how = plan(levels(1), WHOLE, 0.499, 0.97)
    across, down = Taps.of(0, 8, how), Taps.of(0, 8, how)
    made = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="no mean of these pixels"):
        compiled_averages(np.zeros((down.length, across.length - 1, 4), np.uint8), across, down, made)
