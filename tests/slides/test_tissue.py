"""The mask from a small level leaves out glass, and no cell that could be assessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_zoo.artifact import parse
from slides.grid import Chunk, pixels_of
from slides.opened import open_slide
from slides.quality import qualities
from slides.reader import Pixels, Reader, Rectangle
from slides.tissue import candidates
from tests.slides.made import GLASS, spoil_tile, tissue, write_svs


def sparse() -> Pixels:
    """Glass with a little tissue, a thin strand, and a few specks."""
    pixels = np.full((2000, 2600, 3), GLASS, np.uint8)
    pixels[300:684, 400:976] = tissue(["ttt", "nnn"], 2.0)
    pixels[1200:1204, 200:2400] = (150, 80, 140)
    pixels[1600:1610, 1600:1608] = (150, 80, 140)
    return pixels


@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_no_assessable_cell_is_left_out(tmp_path: Path, artifact_path: Path, compression: str) -> None:
    manifest = parse(artifact_path.read_bytes())[1]
    path = write_svs(tmp_path / "slide.svs", sparse(), 0.485, levels=(4, 16), compression=compression)
    with open_slide(path, manifest, None) as opened:
        found = candidates(opened.reader, opened.plan)
        assert 0.02 < found.mean() < 0.7
        rows, columns = found.shape
        whole, _ = opened.raster.read(pixels_of(Chunk(0, 0, columns, rows)))
        assert (qualities(whole, rows, columns, manifest.quality).tissue_fraction[~found] == 0).all()


def test_without_a_small_level_every_cell_is_looked_at(tmp_path: Path, artifact_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", sparse(), 0.485)
    with open_slide(path, parse(artifact_path.read_bytes())[1], None) as opened:
        assert candidates(opened.reader, opened.plan).all()


def test_what_cannot_be_read_of_the_small_level_is_no_glass(tmp_path: Path, artifact_path: Path) -> None:
    pixels = np.full((2400, 4400, 3), GLASS, np.uint8)
    path = write_svs(tmp_path / "slide.svs", pixels, 0.485, levels=(8,), compression="zlib")
    manifest = parse(artifact_path.read_bytes())[1]
    with open_slide(path, manifest, None) as opened:
        assert not candidates(opened.reader, opened.plan).any()
    spoil_tile(path, page=1, tile=0)
    with open_slide(path, manifest, None) as opened:
        found = candidates(opened.reader, opened.plan)
        assert found[0, 0]
        assert not found.all()


def test_the_unreadable_is_found_tile_by_tile(tmp_path: Path) -> None:
    pixels = np.full((600, 600, 3), 100, np.uint8)
    path = write_svs(tmp_path / "slide.svs", pixels, 0.485, compression="zlib")
    spoil_tile(path, page=0, tile=4)
    with Reader(path) as reader:
        found, bad = reader.read(0, Rectangle(0, 0, 600, 600))
    assert bad == [Rectangle(256, 256, 256, 256)]
    assert (found[:256, :, :3] == 100).all()
    assert (found[256:512, 256:512, :3] == 255).all()
