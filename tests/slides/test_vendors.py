"""TIFF slides of other scanners are read by OpenSlide alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openslide import OpenSlide

from slides.reader import CACHE_BYTES, Pixels, Reader, Rectangle
from slides.scale import scale_of
from slides.tiles import VENDORS, Tiles
from tests.slides.made import tissue
from tests.slides.vendors import MPP, SIDE, WRITERS

SIZES = {"leica": (1024, 1024), "trestle": (496, 496)}


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.pad(tissue(["tn.tn", "ntt.p", "..nnt", "tnnt."])[:, :480], ((0, 128), (0, 32), (0, 0)), "edge")


@pytest.mark.parametrize("vendor", WRITERS)
def test_openslide_reads_what_is_not_of_a_known_layout(tmp_path: Path, pixels: Pixels, vendor: str) -> None:
    name, write = WRITERS[vendor]
    path = tmp_path / name
    write(path, pixels)
    size = SIZES.get(vendor, (SIDE, SIDE))
    tiles = Tiles(path, vendor, [size], CACHE_BYTES)
    assert tiles.read(0, 0, 0, 64, 64) is None
    with Reader(path) as reader, OpenSlide(path) as opened:
        assert (reader.vendor, opened.dimensions) == (vendor, size)
        assert vendor not in VENDORS
        assert scale_of(reader.properties).microns_per_pixel == pytest.approx(MPP, rel=1e-3)
        whole = np.array(opened.read_region((0, 0), 0, size))
        glass = whole[..., 3] == 0
        for box in (Rectangle(0, 0, *size), Rectangle(100, 200, 300, 200), Rectangle(255, 255, 2, 2)):
            for _ in range(2):  # where tiles are decoded here, they would be from the second time on
                found, bad = reader.read(0, box)
                assert not bad
                part = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
                assert np.array_equal(found[..., 2::-1][~glass[part]], whole[part][..., :3][~glass[part]])
                assert (found[..., :3][glass[part]] == 255).all()
        if vendor == "leica":
            assert reader.bounds == Rectangle(0, 0, SIDE, SIDE)
