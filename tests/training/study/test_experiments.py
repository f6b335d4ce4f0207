"""The experiments of the study on tiny networks: planned, trained, killed, resumed, measured and reported."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_zoo import classification
from tests.conftest import ROOT, shipped_artifact
from tests.training.tiny import synthetic_patches, tiny_dense, tiny_topology, write_parquet
from training.mobilenetv2 import Topology
from training.recipe import Recipe
from training.study import cells, choices, measure, plan, runner
from training.study.cells import Cell, Tier
from training.study.commands import study
from training.study.results import read
from training.topologies import TOPOLOGIES

TIER = Tier("tiny", epochs=1, seeds=2, sizes=((16, 2), (0, 1)), pareto_epochs=1)
GROUPS = ("C4", "D4")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with all three splits; the study's shapes and budget are tiny ones."""
    folder = tmp_path_factory.mktemp("data")
    write_parquet(folder / "train.parquet", synthetic_patches(48))
    write_parquet(folder / "valid.parquet", synthetic_patches(48, 48))
    write_parquet(folder / "test.parquet", synthetic_patches(24, 96))
    topology = replace(tiny_topology("C4"), stem_channels=24, head_channels=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOPOLOGIES, "tiny", topology)
        for name, shape in {
            "dense": tiny_dense("C4"),
            "dense-inner": tiny_dense("C4", "inner"),
            "fast": topology,
        }.items():
            patch.setitem(TOPOLOGIES, name, shape)
        patch.setitem(cells.TIERS, "cpu", TIER)
        patch.setattr(cells, "EQUIVARIANT", GROUPS)
        patch.setattr(cells, "PARETO", {"narrow": replace(topology, group="C4", head_channels=24)})
        patch.setattr(classification, "RESAMPLES", 40)
        patch.setattr(measure, "BLOCKS", 5)
        patch.setattr(plan, "SECONDS", 0.1)
        patch.setattr(cells, "Recipe", lambda **settings: Recipe(**{"batch_size": 8, **settings}))
        yield folder


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(study, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def done(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which grid, data efficiency and Pareto front have run: ``runs/`` and ``results/``."""
    folder = tmp_path_factory.mktemp("study")
    where: list[str | Path] = ["--data", tiny, "--runs", folder / "runs", "--out", folder / "results"]
    invoke("grid", *where, "--test", "--jobs", "1")  # a process takes longer to start than to train these
    invoke("efficiency", *where, "--test", "--jobs", "1")
    invoke("pareto", *where, "--jobs", "1")
    return folder


def document(folder: Path, name: str) -> Any:
    """A result as plain JSON."""
    found = read(folder, name)
    assert found is not None
    return found


def test_cells_that_differ_in_anything_but_their_name_have_other_keys() -> None:
    planned = cells.grid(cells.TIERS["cpu"])
    assert len({cell.key for cell in planned}) == len(planned)
    assert replace(planned[0], name="other").key == planned[0].key
    assert planned[0].seeded(1).key != planned[0].key


def test_a_key_names_the_settings_that_are_not_at_their_default() -> None:
    """A setting that comes later, with a default that changes nothing, must not orphan the trained cells."""
    settings = json.dumps([{"group": "C4"}, {"epochs": 2}]).encode()
    assert Cell("any", Topology(group="C4"), Recipe(epochs=2)).key == hashlib.sha256(settings).hexdigest()[:16]


def test_the_grid_measures_every_network_in_both_precisions(done: Path) -> None:
    grid = document(done / "results", "grid")
    rows = grid["rows"]
    seeds = {row["name"]: row["seeds"] for row in rows}
    assert seeds.keys() == {cells.CONVENTIONAL, cells.AUGMENTED, cells.AVERAGED, *GROUPS, cells.PAPER}
    best = grid["best"]
    assert best in GROUPS
    assert [name for name, found in seeds.items() if found == [0, 1]] == [
        name for name in seeds if name in {cells.AUGMENTED, cells.AVERAGED, best}
    ]
    for row in rows:
        for precision in ("int8", "fp32"):
            auc = row[precision]["test"]["auc"]
            assert auc["low"] <= auc["value"] <= auc["high"]
        if row["name"] in GROUPS:
            assert row["changes"]["int8"]["exact"] == 0
            assert row["changes"]["int8"]["equal_bits"] == row["changes"]["int8"]["patches"] == 48
    paper = rows[-1]
    assert paper["name"] == cells.PAPER
    assert paper["changes"]["int8"]["exact"] > 0
    assert rows[0]["changes"]["int8"]["exact"] is None


def test_results_say_what_made_them(done: Path, tiny: Path) -> None:
    grid = document(done / "results", "grid")
    assert grid["data_sha256"].keys() == {"valid", "test"}
    assert str(tiny) not in json.dumps(grid)
    assert {"command", "commit", "date", "machine", "versions", "budget"} <= grid.keys()


def test_the_points_on_all_patches_are_the_grids_own(done: Path) -> None:
    grid, efficiency = (document(done / "results", name) for name in ("grid", "efficiency"))
    points = efficiency["points"]
    assert [point["patches"] for point in points] == [16, 48]
    augmented = next(row for row in grid["rows"] if row["name"] == cells.AUGMENTED)
    assert points[-1]["rows"][cells.AUGMENTED]["int8"] == augmented["int8"]


def test_choices_are_compared_with_the_chosen_settings(tiny: Path, tmp_path: Path) -> None:
    teacher = shipped_artifact()
    asked: list[str | Path] = ["--data", tiny, "--runs", tmp_path / "runs", "--out", tmp_path, "--jobs", "1"]
    asked += ["--teacher", teacher, "--patches", "24", "--epochs", "1", "--seeds", "1"]
    invoke("choices", *asked)
    first, *others = document(tmp_path, "choices")["rows"]
    assert first["name"] == cells.CHOSEN
    assert "to_first" not in first
    for row in others:
        assert row["seeds"] == [0]
        gained = row["to_first"]["auc"]
        assert gained["value"] == pytest.approx(row["figures"]["auc"]["value"] - first["figures"]["auc"]["value"])
        assert gained["low"] <= gained["value"] <= gained["high"]
    shown = choices.section(document(tmp_path, "choices"))
    assert [line.split(" | ")[0].strip("| ") for line in shown if line.startswith("| dense") or "fast" in line[:9]] == [
        row["name"] for row in (first, *others)
    ]
    assert "0 to train" in invoke("choices", *asked)


def test_finished_networks_are_not_trained_again(done: Path, tiny: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (done / "runs").rglob("best.ckpt")}
    where: list[str | Path] = ["--data", tiny, "--runs", done / "runs", "--out", tmp_path, "--jobs", "2"]
    assert "0 to train" in invoke("grid", *where)
    assert {file: file.stat().st_mtime_ns for file in (done / "runs").rglob("best.ckpt")} == before


def test_the_plan_counts_what_is_left(done: Path, tiny: Path, tmp_path: Path) -> None:
    left = invoke("plan", "--data", tiny, "--runs", tmp_path)
    finished = invoke("plan", "--data", tiny, "--runs", done / "runs")
    row = {name: re.search(rf"{name}\s.*", text) for name, text in (("grid", left), ("all", finished))}
    assert row["grid"] is not None
    # Seven networks of one epoch of 48 patches: five with seed 0, two with seed 1.
    assert re.findall(r"[\d,.]+", row["grid"][0])[:3] == ["7", "7", "336"]
    assert row["all"] is not None
    assert re.findall(r"[\d,.]+", row["all"][0]) == ["0", "0.0"]


def test_cells_that_were_not_trained_are_named_as_not_run(done: Path, tiny: Path, tmp_path: Path) -> None:
    trained = cells.grid(TIER)[0].key
    shutil.copytree(done / "runs" / trained, tmp_path / trained)
    invoke("grid", "--data", tiny, "--runs", tmp_path, "--out", tmp_path, "--no-train")
    grid = document(tmp_path, "grid")
    assert grid["best"] is None
    assert [row["seeds"] for row in grid["rows"]] == [[0], [], [], [], []]
    invoke("report", "--results", tmp_path, "--page", tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "| C4 | not run |" in page
    assert "Not run: there is no `efficiency.json`." in page


def test_the_report_shows_every_network_and_difference(done: Path) -> None:
    invoke("report", "--results", done / "results", "--page", done / "results.md")
    page = (done / "results.md").read_text()
    for name in (cells.CONVENTIONAL, cells.AVERAGED, cells.PAPER, *GROUPS, "narrow"):
        assert f"| {name} |" in page
    assert f"− {cells.AUGMENTED} | INT8 |" in page
    for plot in ("risk-coverage", "efficiency", "pareto"):
        assert (done / "results" / f"{plot}.svg").read_text().startswith("<?xml")


def test_equal_results_give_equal_pages(done: Path, tmp_path: Path) -> None:
    texts = []
    for page in (tmp_path / "first.md", tmp_path / "second.md"):
        invoke("report", "--results", done / "results", "--page", page)
        texts.append((page.read_text(), (done / "results" / "pareto.svg").read_text()))
    assert texts[0] == texts[1]


def test_efficiency_asks_for_the_grid_first(tiny: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(study, ["efficiency", "--data", str(tiny), "--runs", str(tmp_path)])
    assert result.exit_code == 2
    assert "run `rosette study grid` first" in result.output.replace("│", "").replace("\n", " ").replace("  ", " ")


def test_an_unknown_tier_is_refused(tiny: Path) -> None:
    result = CliRunner().invoke(study, ["plan", "--data", str(tiny), "--tier", "huge"])
    assert result.exit_code == 2
    assert "cpu, gpu" in result.output


KILLED = """
import sys
from pathlib import Path
from tests.training.study.test_experiments import LONG
from training.study.runner import run
if __name__ == "__main__":
    run([LONG], Path(sys.argv[1]), Path(sys.argv[2]), jobs=1, threads=1)
"""
LONG = Cell("long", tiny_topology("C4"), Recipe(epochs=8, batch_size=8))


def alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def losses(run: Path) -> dict[str, str]:
    """The validation loss of each epoch, by the run's log."""
    with (run / "metrics.csv").open() as file:
        return {row["epoch"]: row["valid_loss"] for row in csv.DictReader(file) if row.get("valid_loss")}


@pytest.mark.soak
@pytest.mark.nightly
def test_a_killed_study_goes_on_with_its_last_epoch(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tiny), str(tmp_path)]
    last = tmp_path / LONG.key / "last.ckpt"
    with subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as child:
        while not last.exists():
            assert child.poll() is None
            time.sleep(0.05)
        workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        child.kill()
    deadline = time.monotonic() + 120
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, f"of {workers} some live on"
        time.sleep(0.05)
    assert runner.finished(LONG, tmp_path) is None
    before = losses(tmp_path / LONG.key)
    runner.run([LONG], tiny, tmp_path, jobs=1, threads=1, tell=lambda _line: None)
    assert runner.finished(LONG, tmp_path) is not None
    after = losses(tmp_path / LONG.key)
    assert before.items() <= after.items()
    assert len(after) == LONG.recipe.epochs
