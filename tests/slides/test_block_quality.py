"""The quality of all cells of a block is that of each patch, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_zoo.artifact import parse
from model_zoo.manifest import QualityReference
from model_zoo.quality import measure, tissue_statistics
from slides import kernels
from slides.quality import compiled_sums, numpy_sums, qualities
from slides.reader import Pixels
from tests.slides.made import tissue


@pytest.fixture(scope="module")
def reference(artifact_path: Path) -> QualityReference:
    return parse(artifact_path.read_bytes())[1].quality


def extremes() -> Pixels:
    """Noise, black, white, and stripes of the largest Laplacian and density."""
    block = np.random.default_rng(0).integers(0, 256, (96 + 3 * 32, 96 + 6 * 32, 3), dtype=np.uint8)
    block[:100, :100] = 0
    block[:100, 100:140] = 255
    block[100:, 150::2] = 0
    block[100:, 151::2] = 255
    block[60:150, 60:150, 0] = 1
    return block


def of_tissue() -> Pixels:
    return tissue(["tn.t", "p.nt"])[: 96 + 2 * 32, : 96 + 8 * 32]


@pytest.mark.parametrize("block", [extremes(), of_tissue()], ids=["extremes", "tissue"])
def test_blocks_and_patches_agree(block: Pixels, reference: QualityReference) -> None:
    rows, columns = ((size - 96) // 32 + 1 for size in block.shape[:2])
    found = qualities(block, rows, columns, reference)
    for row in range(rows):
        for column in range(columns):
            patch = block[32 * row : 32 * row + 96, 32 * column : 32 * column + 96]
            quality, density = measure(patch, reference), tissue_statistics(patch)[2]
            at = row, column
            assert (found.tissue_fraction[at], found.sharpness[at]) == (quality.tissue_fraction, quality.sharpness)
            expected = (
                (None, None)
                if np.isnan(found.stain_distance[at])
                else (
                    tuple(found.density[at].tolist()),
                    float(found.stain_distance[at]),
                )
            )
            assert expected == (density, quality.stain_distance)


@pytest.mark.skipif(not kernels.COMPILED, reason="no C compiler")
@pytest.mark.parametrize("block", [extremes(), of_tissue(), extremes()[:96, :96]], ids=["extremes", "tissue", "one"])
def test_the_compiled_sums_are_those_of_numpy(block: Pixels) -> None:
    rows, columns = ((size - 96) // 32 + 1 for size in block.shape[:2])
    assert np.array_equal(compiled_sums(block, rows, columns), numpy_sums(block, rows, columns))
