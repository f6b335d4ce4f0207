"""The slide's scope: bounds from training patches alone, and a verdict with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.artifact import parse
from model_zoo.quality import measure
from model_zoo.slide_scope import slide_reference
from model_zoo.turns import Patch
from slides.cells import Cells
from slides.scope import SAMPLE, judge, sampled, verdict
from tests.slides.synthetic import cells_of


def noise(seed: int) -> Patch:
    return np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def all_scored(rows: int, columns: int) -> Cells:
    return cells_of(["1" * columns] * rows)


def test_the_sample_is_spread_over_the_scored_cells() -> None:
    cells = all_scored(40, 50)
    assert len(set(sampled(cells))) == SAMPLE
    assert sampled(cells)[0] == (0, 0)
    assert sampled(cells)[-1] == (39, 49)
    few = cells_of(["1..x", "o2.."])
    assert sampled(few) == [(0, 0), (1, 1)]
    assert sampled(cells_of(["..x"])) == []


def test_noise_is_out_of_scope_and_says_in_what() -> None:
    found = judge(all_scored(10, 10), lambda column, row: noise(100 * row + column))
    assert (found.verdict, found.cells) == ("out_of_scope", 100)
    assert "differs from the training patches in texture" in found.text
    assert [figure.name for figure in found.figures] == ["texture distance", "stain distance"]
    assert found.reference == slide_reference().training_patches


def test_patches_that_cannot_be_read_or_hold_no_tissue_do_not_count() -> None:
    glass = np.full((96, 96, 3), 255, dtype=np.uint8)
    shown: dict[int, Patch | None] = {0: None, 1: glass}
    assert judge(all_scored(1, 20), lambda column, row: shown.get(column, noise(column))).cells == 18


def test_too_few_cells_say_nothing() -> None:
    least = slide_reference().bounds[0].patches
    assert judge(all_scored(1, least - 1), lambda column, row: noise(column)).verdict == "unknown"
    assert judge(all_scored(1, least), lambda column, row: noise(column)).verdict == "out_of_scope"


def test_fewer_patches_have_wider_bounds_of_stain() -> None:
    for fewer, more in pairwise(slide_reference().bounds):
        assert fewer.max_stain_distance > more.max_stain_distance


def real_patches(shared: Path, split: str, count: int) -> list[Patch]:
    parquet = pytest.importorskip("pyarrow.parquet")
    import io

    rows = parquet.read_table(shared / "pcam" / f"{split}.parquet", columns=["image"]).slice(0, count)
    encoded = rows["image"].to_pylist()
    return [np.asarray(Image.open(io.BytesIO(each["bytes"])).convert("RGB")) for each in encoded]


def assessable(patches: Sequence[Patch], artifact: Path) -> list[Patch]:
    quality = parse(artifact.read_bytes())[1].quality
    return [patch for patch in patches if measure(patch, quality).assessable]


def test_lymph_nodes_of_other_patches_are_in_scope(shared: Path, artifact_path: Path) -> None:
    found = verdict(assessable(real_patches(shared, "valid", 300), artifact_path), slide_reference())
    assert found.verdict == "in_scope"
    assert found.cells > 256


def test_skin_is_not_what_the_models_were_made_for(shared: Path, artifact_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(shared / "slides" / "CMU-1-Small-Region.svs") as slide:
        whole = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
        factor = 0.97 / float(slide.properties["openslide.mpp-x"])
    size = round(whole.width / factor), round(whole.height / factor)
    pixels = np.asarray(whole.resize(size, Image.Resampling.BOX))
    tiles = [pixels[y : y + 96, x : x + 96] for y in range(0, size[1] - 95, 48) for x in range(0, size[0] - 95, 48)]
    found = verdict(assessable([np.ascontiguousarray(tile) for tile in tiles], artifact_path), slide_reference())
    assert found.verdict == "out_of_scope"
    assert found.cells > 256
