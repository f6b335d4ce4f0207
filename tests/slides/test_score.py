"""``rosette slide``: from a slide's file to a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from model_zoo.network import Network
from model_zoo.quality import measure
from slides.cells import Cells, State, read_run
from slides.reader import Pixels
from slides.runfile import Run
from tests.conftest import ROOT
from tests.installed import in_process, rosette
from tests.slides.made import GLASS, spoil_tile, tissue, write_svs, write_tiff

DRAWING = ["tn..", "nt.t", "...n"]


def score(path: Path, out: Path, *options: str) -> tuple[Run, Cells]:
    """Score one slide with the installed command."""
    rosette("slide", "score", path, "--out", out, "--processes", "1", *options)
    return read_run(folder_in(out))


def folder_in(out: Path) -> Path:
    [folder] = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("slides") / "a slide.svs", tissue(DRAWING, 1.944), 0.499)


@pytest.fixture(scope="module")
def scored(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    score(slide, out)
    return folder_in(out)


@pytest.fixture(scope="module")
def network(artifact_path: Path) -> Network:
    return Network(artifact_path.read_bytes())


def test_a_run_says_how_it_was_made(scored: Path, slide: Path, network: Network) -> None:
    run, cells = read_run(scored)
    assert (run.state, run.slide.name, run.slide.vendor) == ("complete", "a slide.svs", "aperio")
    assert (run.slide.scale_source, run.slide.microns_per_pixel) == ("file", 0.499)
    assert (run.raster.filter, run.raster.level) == ("area", 0)
    assert run.raster.factor == pytest.approx(0.97 / 0.499)
    assert run.model.sha256 == network.sha256
    assert set(run.versions) == {"slides", "numpy", "onnxruntime", "openslide"}
    assert cells.shape == (run.grid.rows, run.grid.columns)
    assert scored.name.startswith("a slide-")
    assert not (scored / "chunks").exists()


def test_cells_tile_the_slide(scored: Path) -> None:
    run, cells = read_run(scored)
    assert (cells.x[0], cells.x[-1], cells.y[0], cells.y[-1]) == (0, run.slide.width, 0, run.slide.height)
    widths = np.diff(cells.x)[:-1]
    assert set(widths.tolist()) <= {62, 63}
    assert cells.x[:-1].tolist() == [round(32 * column * 0.97 / 0.499) for column in range(run.grid.columns)]


def test_states_follow_the_drawing(scored: Path) -> None:
    run, cells = read_run(scored)
    where = (cells.y[:-1, None] // 187, cells.x[None, :-1] // 187)
    drawn = np.array([list(line) for line in DRAWING])[where]
    glass = cells.where(State.GLASS)
    assert cells.where(State.SCORED)[drawn != "."].mean() > 0.9
    assert glass[drawn == "."].mean() > 0.4
    assert (cells.probability[cells.where(State.SCORED)] >= 0).all()
    assert np.isnan(cells.probability[glass]).all()
    hot = cells.probability >= run.model.review_band[0]
    assert hot.any()
    assert np.array_equal(~np.isnan(cells.turns), hot)
    assert np.array_equal(~np.isnan(cells.shifts), hot)


def test_cut_writes_what_was_scored(scored: Path, slide: Path, network: Network, tmp_path: Path) -> None:
    _, cells = read_run(scored)
    for number, (row, column) in enumerate(np.argwhere(cells.where(State.SCORED))[::17].tolist()):
        words = ("slide", "cut", slide, str(column), str(row), "-o", tmp_path / "patch.png")
        if number == 0:
            rosette(*words)
        else:
            assert in_process(*words).exit_code == 0
        with Image.open(tmp_path / "patch.png") as image:
            assert image.info["dpi"] == pytest.approx((25_400 / 0.97,) * 2, rel=1e-3)
            patch = np.array(image)
        quality = measure(patch, network.manifest.quality)
        assert (quality.tissue_fraction, quality.sharpness) == (cells.tissue[row, column], cells.sharpness[row, column])
        logits = network.logits(patch[None])
        assert logits[0].tobytes() == cells.logits[row, column].tobytes()
        assert network.probabilities(logits)[0] == cells.probability[row, column]


def test_cut_names_the_cells_that_there_are(slide: Path, tmp_path: Path) -> None:
    said = rosette("slide", "cut", slide, "99", "0", "-o", tmp_path / "patch.png", code=1)
    assert f"rosette: {slide}: there is no cell at column 99" in said
    assert "columns go from 0 to 11, rows to 8" in said
    assert not (tmp_path / "patch.png").exists()


def test_verify_finds_every_cell_equal_and_a_changed_one(scored: Path, slide: Path, tmp_path: Path) -> None:
    assert "108 cells checked, 0 differences" in rosette("slide", "verify", scored, "--cells", "999")
    text = (scored / "cells.csv").read_text()
    lines = text.splitlines(keepends=True)
    changed = next(number for number, line in enumerate(lines) if ",scored," in line)
    fields = lines[changed].split(",")
    fields[8] = float(np.nextafter(np.float32(float.fromhex(fields[8])), np.float32(9))).hex()
    (scored / "cells.csv").write_text("".join([*lines[:changed], ",".join(fields), *lines[changed + 1 :]]))
    try:
        said = rosette("slide", "verify", scored, "--cells", "999", code=1)
    finally:
        (scored / "cells.csv").write_text(text)
    assert f"column {fields[0]}, row {fields[1]}: the logits are" in said
    assert "108 cells checked, 1 difference\n" in said


def test_a_second_start_does_nothing_and_other_models_and_scales_start_anew(
    scored: Path, slide: Path, tmp_path: Path
) -> None:
    before = (scored / "run.json").read_bytes()
    out = scored.parent
    assert "it was scored before" in rosette("slide", "score", slide, "--out", out)
    assert (scored / "run.json").read_bytes() == before
    earlier = ROOT / "benchmarks" / "artifacts" / "fast-0.3.1.int8.onnx"
    said = rosette("slide", "score", slide, "--out", tmp_path, "--model", earlier, "--processes", "1")
    assert "scored anew" not in said
    said = rosette("slide", "score", slide, "--out", tmp_path, "--processes", "1", "--mpp", "0.51", "--model", earlier)
    assert "not the scale of the run in" in said
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_slides_are_refused_in_a_sentence_each_and_stop_no_other(slide: Path, tmp_path: Path) -> None:
    pixels = tissue(["t"], 2)
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("no slide")
    whole = slide.read_bytes()
    (tmp_path / "truncated.svs").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(tmp_path / "order.tif", pixels, byteorder=">", tile=(256, 256))
    files = {
        "empty.svs": "the file is empty",
        "text.svs": "OpenSlide does not recognize the format",
        "truncated.svs": "cut off",
        "order.tif": "classic TIFF in big-endian byte order",
        "missing.svs": "there is no such file",
        "scaleless.svs": "does not state its microns per pixel (it names an objective of 20x",
        "coarse.svs": "pixels are never made up",
        "screen.tif": "states 264.6 microns per pixel, expected 0.05 to 10: state the true scale",
    }
    write_svs(tmp_path / "scaleless.svs", pixels, None)
    write_svs(tmp_path / "coarse.svs", pixels, 1.94)
    write_tiff(tmp_path / "screen.tif", pixels, 37.8)
    out = tmp_path / "out"
    given = [tmp_path / name for name in files]
    said = rosette("slide", "score", *given, slide, "--out", out, "--processes", "1", "--rotations", "none", code=1)
    for name, sentence in files.items():
        [line] = [line for line in said.splitlines() if line.startswith(f"rosette: {tmp_path / name}: ")]
        assert sentence in line, name
    assert "Traceback" not in said
    assert "8 of 9 slides failed" in said
    run, _ = read_run(folder_in(out))
    assert run.slide.name == slide.name
    assert run.scope is not None
    assert (f"{slide.name}: {run.scope.text}" in said) == (run.scope.verdict != "in_scope")


def test_a_stated_scale_counts(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue(["tn"], 2), None, compression="zlib")
    run, _ = score(path, tmp_path / "out", "--mpp", "0.485", "--rotations", "none", "--shifts", "none")
    assert (run.slide.scale_source, run.slide.microns_per_pixel, run.raster.factor) == ("stated", 0.485, 2.0)


def pen() -> Pixels:
    return tissue(["ppp", "ppp"], 2)


def test_pen_and_glass_are_scored_nowhere(tmp_path: Path) -> None:
    _, cells = score(write_svs(tmp_path / "pen.svs", pen(), 0.485), tmp_path / "pen")
    assert not cells.where(State.SCORED).any()
    assert cells.where(State.NOT_ASSESSABLE)[1:-1, 1:-1].all()
    bare = np.full((400, 500, 3), GLASS, np.uint8)
    _, cells = score(write_svs(tmp_path / "bare.svs", bare, 0.485), tmp_path / "bare")
    assert cells.where(State.GLASS).all()


def test_a_slide_in_jpeg_2000_is_scored(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue(["tn"], 2), 0.485, compression="aperio_jp2000_rgb")
    _, cells = score(path, tmp_path / "out")
    assert cells.where(State.SCORED).mean() > 0.9


def test_a_tile_that_cannot_be_read_is_a_hole(tmp_path: Path) -> None:
    pixels = tissue(["tntn", "nttn", "tnnt"], 2)
    path = write_svs(tmp_path / "slide.svs", pixels, 0.485, compression="zlib")
    _, whole = score(path, tmp_path / "whole", "--rotations", "none", "--shifts", "none")
    spoil_tile(path, page=0, tile=4)
    fast = ("--processes", "1", "--rotations", "none", "--shifts", "none")
    said = rosette("slide", "score", path, "--out", tmp_path / "spoilt", *fast, code=1)
    _, cells = read_run(folder_in(tmp_path / "spoilt"))
    holes = cells.where(State.HOLE)
    x, y = cells.x[None], cells.y[:, None]
    reaches = (x[:, :-1] < 512 + 64) & (x[:, 1:] > 256 - 64) & (y[:-1] < 512 + 64) & (y[1:] > 256 - 64)
    assert holes.any()
    assert np.array_equal(holes, reaches)
    assert set(cells.reason.values()) == {"unreadable"}
    count, of = int(holes.sum()), int((~cells.where(State.GLASS)).sum())
    assert count > 0.05 * of
    warning = f"{count} of {of} cells that may hold tissue ({100 * count / of:.3g} %) could not be read"
    assert f"rosette: warning: slide.svs: {warning} ({count}: the file could not be read there)" in said
    assert "of 1 of 1 slides, more than 5 % could not be read" in said
    assert warning in (folder_in(tmp_path / "spoilt") / "report.html").read_text()
    assert np.array_equal(cells.logits[~holes], whole.logits[~holes], equal_nan=True)
    assert "0 differences" in rosette("slide", "verify", folder_in(tmp_path / "spoilt"), "--cells", "999")


def test_full_rotations_decide_by_the_orbit(slide: Path, network: Network, tmp_path: Path) -> None:
    run, cells = score(slide, tmp_path, "--rotations", "full", "--shifts", "report")
    orbit = network.manifest.orbit
    assert orbit is not None
    assert (run.basis, run.model.threshold) == ("orbit", orbit.threshold)
    found = cells.where(State.SCORED)
    assert not np.isnan(cells.turns[found]).any()
    assert not np.isnan(cells.shifts[found]).any()
    single = network.probabilities(np.ascontiguousarray(cells.logits[found]))
    assert (single != cells.probability[found]).any()
