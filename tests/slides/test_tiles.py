"""Tiles that are decoded without OpenSlide have OpenSlide's pixels, and whatever is unusual is left to OpenSlide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from openslide import OpenSlide

from slides.errors import SlideError
from slides.reader import CACHE_BYTES, Pixels, Reader, Rectangle
from slides.tiff import OtherTiffError, tile_tables
from slides.tiles import Tiles
from tests.slides.made import spoil_tile, tissue, write_svs

TILE = 128
APERIO = "Aperio Image Library v11.2.1\n500x300 (128x128) JPEG/RGB Q=85|MPP = 0.4990"


def tiled(path: Path, pixels: Pixels, colours: str, photometric: str, **options: Any) -> Path:
    """A TIFF of JPEG tiles whose streams hold other colours than its tags may say."""
    rows, columns = (-(-size // TILE) for size in pixels.shape[:2])
    padded = np.pad(pixels, ((0, rows * TILE - len(pixels)), (0, columns * TILE - pixels.shape[1]), (0, 0)), "edge")
    tiles = (
        bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(padded[TILE * y : TILE * (y + 1), TILE * x : TILE * (x + 1)]),
                level=85,
                colorspace="RGB",
                outcolorspace=colours,
                subsampling="420" if colours == "YCBCR" else "444",
            )
        )
        for y in range(rows)
        for x in range(columns)
    )
    settings: dict[str, Any] = {"description": APERIO, "metadata": None, **options}
    tifffile.imwrite(
        path,
        tiles,
        shape=pixels.shape,
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric=photometric,
        compression="jpeg",
        **settings,
    )
    return path


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return tissue(["tn.tn", "ntt.p", "..nnt"])


def same_as_openslide(path: Path) -> bool:
    """Whether random rectangles of the first level have OpenSlide's pixels; and that some were decoded here."""
    rng = np.random.default_rng(2)
    with Reader(path) as reader, OpenSlide(path) as opened:
        width, height = opened.dimensions
        whole = np.array(opened.read_region((0, 0), 0, (width, height)))[..., :3]
        tiles = Tiles(path, reader.vendor, [opened.dimensions], CACHE_BYTES)
        for _ in range(12):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            w, h = int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))
            found, bad = reader.read(0, Rectangle(x, y, w, h))
            assert not bad
            assert np.array_equal(found[..., 2::-1], whole[y : y + h, x : x + w])
            decoded = tiles.read(0, x, y, w, h)
            if decoded is None:
                return False
            assert np.array_equal(decoded[..., 2::-1], whole[y : y + h, x : x + w])
    return True


@pytest.mark.parametrize(("bigtiff", "byteorder"), [(False, "<"), (True, "<"), (True, ">")])
@pytest.mark.parametrize("description", [APERIO, "a scan"])
def test_both_kinds_of_tiff(tmp_path: Path, pixels: Pixels, bigtiff: bool, byteorder: str, description: str) -> None:
    options = {"bigtiff": bigtiff, "byteorder": byteorder, "description": description}
    assert same_as_openslide(tiled(tmp_path / "slide.svs", pixels, "YCBCR", "ycbcr", **options))


@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_the_tags_say_what_the_colours_are(tmp_path: Path, pixels: Pixels, colours: str, photometric: str) -> None:
    assert same_as_openslide(tiled(tmp_path / "slide.svs", pixels, colours, photometric))


def test_tables_outside_the_tiles(tmp_path: Path, shared: Path) -> None:
    assert same_as_openslide(shared / "slides" / "CMU-1-Small-Region.svs")


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
def test_other_compressions_are_left_to_openslide(tmp_path: Path, pixels: Pixels, compression: str) -> None:
    assert not same_as_openslide(write_svs(tmp_path / "slide.svs", pixels, compression=compression))


@pytest.mark.parametrize(("compression", "refused"), [("jpeg", False), ("zlib", True), (None, True)])
def test_tiles_that_openslide_would_turn_are_refused(
    tmp_path: Path, pixels: Pixels, compression: str | None, refused: bool
) -> None:
    path = tmp_path / "slide.tif"
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": compression}
    tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, 4, True)], **options)
    if refused:
        with pytest.raises(SlideError, match="Orientation is 4, with which OpenSlide turns every tile in its place"):
            Reader(path)
    else:
        with Reader(path) as reader:
            assert (reader.levels[0].width, reader.levels[0].height) == (pixels.shape[1], pixels.shape[0])


def test_a_damaged_tile_is_left_to_openslide(tmp_path: Path, pixels: Pixels) -> None:
    path = tiled(tmp_path / "slide.svs", pixels, "YCBCR", "ycbcr")
    spoil_tile(path, page=0, tile=1)
    tiles = Tiles(path, "aperio", [(pixels.shape[1], pixels.shape[0])], CACHE_BYTES)
    assert tiles.read(0, TILE - 1, 0, 2, 2) is None
    assert tiles.read(0, TILE - 1, TILE, 2, 2) is not None
    with Reader(path) as reader:
        _, bad = reader.read(0, Rectangle(0, 0, 3 * TILE, TILE))
    assert bad == [Rectangle(TILE, 0, TILE, TILE)]


def test_a_small_cache_gives_the_same(tmp_path: Path, pixels: Pixels) -> None:
    path = tiled(tmp_path / "slide.svs", pixels, "RGB", "rgb")
    size = pixels.shape[1], pixels.shape[0]
    small, large = Tiles(path, "aperio", [size], 4 * TILE * TILE), Tiles(path, "aperio", [size], CACHE_BYTES)
    for _ in range(2):
        assert np.array_equal(np.asarray(small.read(0, 0, 0, *size)), np.asarray(large.read(0, 0, 0, *size)))


def test_damaged_directories_are_refused_and_nothing_else_happens(tmp_path: Path, pixels: Pixels) -> None:
    path = tiled(tmp_path / "slide.svs", pixels, "RGB", "rgb")
    with tifffile.TiffFile(path) as file:
        places = [0, *(entry.offset for entry in file.pages.first.tags)]
    data, rng = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        spoiled = bytearray(data[: int(rng.integers(1, len(data)))] if rng.random() < 0.1 else data)
        for _ in range(int(rng.integers(1, 4))):
            spoiled[min(int(rng.choice(places)) + int(rng.integers(0, 12)), len(spoiled) - 1)] = int(rng.integers(256))
        path.write_bytes(spoiled)
        file_descriptor = os.open(path, os.O_RDONLY)
        try:
            tile_tables(file_descriptor)
        except OtherTiffError:
            refused += 1
        finally:
            os.close(file_descriptor)
    assert refused > 10


def test_directories_in_a_circle_end(tmp_path: Path, pixels: Pixels) -> None:
    path = tiled(tmp_path / "slide.svs", pixels, "RGB", "rgb", byteorder="<", bigtiff=False)
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(OtherTiffError, match="more than 64 directories"):
        tile_tables(file.fileno())


def test_a_tag_that_states_a_gigabyte_is_not_read(tmp_path: Path, pixels: Pixels) -> None:
    path = tiled(tmp_path / "slide.svs", pixels, "RGB", "rgb", byteorder="<", bigtiff=False)
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["ImageDescription"].offset
    with path.open("r+b") as damaged:
        damaged.seek(place + 4)
        damaged.write((2**30).to_bytes(4, "little"))
        damaged.truncate(2**31)  # a hole, which takes no space
    with path.open("rb") as opened, pytest.raises(OtherTiffError, match="its tags are too large"):
        tile_tables(opened.fileno())
