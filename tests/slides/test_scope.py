"""The slide's scope: bounds from training patches alone, and a verdict with its figures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.artifact import parse
from model_zoo.quality import measure, tissue_statistics
from model_zoo.slide_scope import slide_reference
from slides.cells import Cells, State
from slides.scope import judge
from tests.slides.synthetic import cells_of


def usual(count: int) -> Cells:
    """Scored cells in a row whose sharpness and stain lie in the middle of what is usual."""
    cells = cells_of(["1" * count])
    bounds = slide_reference().bounds_for(count)
    assert bounds is None or bounds.median_sharpness.low is not None
    cells.sharpness[:] = np.geomspace(4000, 32000, count)
    cells.density[:] = slide_reference().stain_mean
    return cells


def test_a_usual_slide_is_in_scope() -> None:
    verdict = judge(usual(300))
    assert (verdict.verdict, verdict.cells) == ("in_scope", 300)
    assert all(figure.inside for figure in verdict.figures)
    assert verdict.reference == slide_reference().training_patches


@pytest.mark.parametrize(
    ("sharpness", "density", "said"),
    [
        (0.02, (0, 0, 0), "in sharpness and the sharpness of its sharpest parts"),
        (50, (0, 0, 0), "in sharpness and the sharpness of its sharpest parts"),
        (1, (0.3, -0.2, 0.2), "in stain"),
    ],
)
def test_an_unusual_slide_is_out_of_scope(sharpness: float, density: tuple[float, ...], said: str) -> None:
    cells = usual(300)
    cells.sharpness *= sharpness
    cells.density += density
    verdict = judge(cells)
    assert verdict.verdict == "out_of_scope"
    assert said in verdict.text


def test_too_few_cells_say_nothing() -> None:
    least = slide_reference().bounds[0].patches
    assert judge(usual(least - 1)).verdict == "unknown"
    assert judge(usual(least)).verdict == "in_scope"


def test_only_scored_cells_with_their_measures_count() -> None:
    cells = usual(300)
    cells.put(np.arange(300)[None] < 100, State.NOT_ASSESSABLE)
    cells.sharpness[0, 100:150] = np.nan
    assert judge(cells).cells == 150


def test_fewer_patches_have_wider_bounds() -> None:
    bounds = slide_reference().bounds
    for fewer, more in pairwise(bounds):
        assert fewer.median_sharpness.low is not None
        assert more.median_sharpness.low is not None
        assert fewer.median_sharpness.low < more.median_sharpness.low
        assert fewer.median_stain_distance.high is not None
        assert more.median_stain_distance.high is not None
        assert fewer.median_stain_distance.high > more.median_stain_distance.high


def test_skin_is_not_what_the_models_were_made_for(shared: Path, artifact_path: Path) -> None:
    """Resampled to the patches' scale as a whole, every third patch at stride 96."""
    openslide = pytest.importorskip("openslide")
    reference = parse(artifact_path.read_bytes())[1].quality
    with openslide.OpenSlide(shared / "slides" / "CMU-1-Small-Region.svs") as slide:
        whole = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
        factor = 0.97 / float(slide.properties["openslide.mpp-x"])
    size = round(whole.width / factor), round(whole.height / factor)
    pixels = np.asarray(whole.resize(size, Image.Resampling.BOX))
    tiles = [
        np.ascontiguousarray(pixels[y : y + 96, x : x + 96])
        for y in range(0, size[1] - 95, 48)
        for x in range(0, size[0] - 95, 48)
    ]
    assessable = [tissue_statistics(tile) for tile in tiles if measure(tile, reference).assessable]
    cells = cells_of(["1" * len(assessable)])
    for column, (_, sharpness, density) in enumerate(assessable):
        cells.sharpness[0, column], cells.density[0, column] = sharpness, density
    verdict = judge(cells)
    assert verdict.cells > 256
    assert verdict.verdict == "out_of_scope"
