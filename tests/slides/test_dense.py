"""A dense artifact answers windows in passes over regions, with the bits of the patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.slides.folders import find_slides
from app.slides.scoring import Order, Progress, score
from model_zoo.dense_pass import MAX_SIDE, DensePass
from model_zoo.manifest import DenseSpec, Manifest
from model_zoo.network import Network
from model_zoo.proof import RefusedError
from model_zoo.shifts import OFFSETS_PX, shift_report
from slides.cells import State, read_run
from slides.grid import Chunk, pixels_of
from slides.opened import Model, open_model, open_slide
from slides.reader import Pixels
from tests.installed import rosette
from tests.model_zoo.resealing import with_manifest
from tests.slides.made import tissue, write_svs
from tests.training.test_region import dense_artifact


@pytest.fixture(scope="module")
def shipped(artifact_path: Path) -> Manifest:
    return Network(artifact_path.read_bytes()).manifest


@pytest.fixture(scope="module")
def model(shipped: Manifest) -> Model:
    """Judges quality as the shipped artifact does, and takes every cell for a doubtful one."""
    data = with_manifest(dense_artifact("C4", "disc"), quality=shipped.quality, review_band=(0.0, 1.0))
    return Model(data, Network(data))


@pytest.fixture(scope="module")
def path(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "dense.onnx"
    file.write_bytes(model.data)
    return file


@pytest.fixture(scope="module")
def block() -> Pixels:
    return tissue(["tntntnnt"] * 8)


def corners_of(block: Pixels, step: int) -> np.ndarray:
    places = [np.arange(0, side - 96 + 1, step) for side in block.shape[:2]]
    return np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 2)


def test_windows_of_all_phases_have_the_bits_of_their_patches(model: Model, block: Pixels) -> None:
    assert model.dense_pass is not None
    everywhere = corners_of(block, 4)
    some = np.random.default_rng(0).permutation(everywhere)[:300]
    assert model.logits(block, some).tobytes() == model.network.windows(block, some).tobytes()
    far = np.array([[0, 0], [0, 0], [672, 672], [3, 669]])
    assert model.logits(block, far).tobytes() == model.network.windows(block, far).tobytes()


def test_a_large_block_takes_passes_and_a_scattered_one_patches(model: Model, block: Pixels) -> None:
    passes = model.dense_pass
    assert passes is not None
    assert min(block.shape[:2]) > MAX_SIDE
    together = list(passes._groups(corners_of(block, 32)))
    assert all(fits for _, fits in together)
    assert sorted(np.concatenate([group for group, _ in together]).tolist()) == list(range(22 * 22))
    assert not any(fits for _, fits in passes._groups(np.array([[0, 0], [0, 640], [640, 640]])))


def test_a_pass_that_gives_other_bits_is_refused(model: Model, tmp_path: Path) -> None:
    data = with_manifest(model.data, dense=DenseSpec(stride=16, receptive_field=80))
    with pytest.raises(RefusedError, match="one pass over a region gives other bits than its patches"):
        DensePass(data, Network(data))
    (tmp_path / "wrong.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=r"wrong\.onnx cannot be used: one pass over a region"):
        open_model(tmp_path / "wrong.onnx")


def test_a_run_with_a_dense_artifact_is_that_of_its_patches(model: Model, path: Path, tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "slide.svs", tissue(["tnt.", "nt..", "...t"]), 0.97)
    rosette("slide", "score", slide, "--out", tmp_path / "out", "--model", path, "--processes", "1")
    [folder] = (tmp_path / "out").iterdir()
    said = rosette("slide", "verify", folder, "--cells", "999", "--model", path)
    assert "108 cells checked, 0 differences" in said
    _, cells = read_run(folder)
    scored = np.argwhere(cells.where(State.SCORED))
    assert len(scored) > 30
    with open_slide(slide, model.manifest, None) as opened:
        for row, column in scored[::13].tolist():
            pixels, _ = opened.raster.read(pixels_of(Chunk(column, row, 1, 1), 4))
            patches = [pixels[4 + dy : 100 + dy, 4 + dx : 100 + dx] for dx, dy in OFFSETS_PX]
            nine = model.network.probabilities(model.network.logits(np.stack(patches))).tolist()
            assert shift_report(nine, model.manifest.threshold).max_deviation == cells.shifts[row, column]
    assert_the_confined_process_gives_the_same(slide, model, folder, tmp_path)


def assert_the_confined_process_gives_the_same(slide: Path, model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "offered").mkdir()
    slide.rename(tmp_path / "offered" / slide.name)
    [file] = find_slides([tmp_path / "offered"], b"a secret")
    score(Order(file, tmp_path / "work", "auto", "auto", 0.1, model.data), Progress(), lambda _: True)
    [work] = [each for each in (tmp_path / "work").iterdir() if each.is_dir()]
    assert (work / "cells.csv").read_bytes() == (folder / "cells.csv").read_bytes()
