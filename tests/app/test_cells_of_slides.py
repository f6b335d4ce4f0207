"""A cell of a scored slide and the same patch sent to the server get the same bits."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slides.cells import State, read_run
from slides.opened import open_model, open_slide
from slides.patch import patch_of, write_patch
from tests.app.conftest import RunningServer
from tests.conftest import shipped_artifact
from tests.installed import rosette
from tests.scale import scaled
from tests.slides.made import tissue, write_svs

PLAIN = ("--rotations", "none", "--shifts", "none")
CELLS = int(os.environ.get("ROSETTE_TEST_CELLS") or scaled(60, 250))


@pytest.fixture(params=["CMU-1-Small-Region.svs", "made.svs"])
def slide(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "made.svs":
        return write_svs(tmp_path / request.param, tissue(["tnt.", "nttn"], 1.944), 0.499)
    path: Path = request.getfixturevalue("shared") / "slides" / request.param
    if not path.exists():
        pytest.skip(f"no slide at {path}")
    return path


def test_scored_cells_and_predict_agree_bit_for_bit(server: RunningServer, slide: Path, tmp_path: Path) -> None:
    rosette("slide", "score", slide, "--out", tmp_path / "out", *PLAIN, "--model", shipped_artifact())
    [folder] = (tmp_path / "out").iterdir()
    run, cells = read_run(folder)
    wanted = np.argwhere(cells.where(State.SCORED) | cells.where(State.NOT_ASSESSABLE)).tolist()
    chosen = random.Random(18).sample(wanted, min(CELLS, len(wanted)))
    with open_slide(slide, open_model(shipped_artifact()).manifest, None) as opened:
        for row, column in chosen:
            patch = patch_of(opened, column, row)
            assert patch is not None
            write_patch(patch, run.raster.microns_per_pixel, tmp_path / "patch.png")
            answer = server.client.post(
                "/predict",
                content=(tmp_path / "patch.png").read_bytes(),
                headers={"Content-Type": "image/png"},
                params={"rotations": "none"},
            ).json()
            assert answer["model"]["sha256"] == run.model.sha256
            assert answer["quality"]["assessable"] == (cells.state[row, column] == 0)
            assert answer["quality"]["tissue_fraction"] == cells.tissue[row, column]
            assert answer["quality"]["sharpness"] == cells.sharpness[row, column]
            if answer["quality"]["assessable"]:
                assert np.float32(answer["logits"]).tobytes() == cells.logits[row, column].tobytes()
                assert answer["probability"] == cells.probability[row, column]
            else:
                assert " ".join(reason["code"] for reason in answer["reasons"]) == cells.reason[row, column]


def test_cut_writes_the_patch_that_the_library_cuts(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue(["tn"], 1.944), 0.499)
    rosette("slide", "cut", path, "2", "1", "-o", tmp_path / "patch.png", "--model", "balanced")
    with open_slide(path, open_model(shipped_artifact()).manifest, None) as opened:
        patch = patch_of(opened, 2, 1)
    assert patch is not None
    with Image.open(tmp_path / "patch.png") as image:
        assert patch is not None
        assert np.array_equal(np.array(image), patch)
