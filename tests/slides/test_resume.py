"""A run that is killed goes on, trusts nothing half-written, and ends with the same bytes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import pytest

from slides.reader import Pixels
from tests.conftest import shipped_artifact
from tests.installed import PROGRAM, rosette
from tests.scale import scaled
from tests.slides.made import tissue, write_svs

KILLS = int(os.environ.get("ROSETTE_TEST_KILLS") or scaled(3, 20))
MODEL = str(shipped_artifact(name="fast"))
OPTIONS = ("--rotations", "none", "--shifts", "none", "--model", MODEL, "--processes", "2")
RESULTS = ("cells.csv", "regions.geojson", "heatmap.png")


def patchy(rows: int, columns: int) -> Pixels:
    """Glass with some tissue in every chunk."""
    kinds = ".........t..n..."
    return tissue(["".join(kinds[(5 * row + 3 * column) % 16] for column in range(columns)) for row in range(rows)])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("slides") / "slide.svs", patchy(33, 48), 0.97)


@pytest.fixture(scope="module")
def whole(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(slide, tmp_path_factory.mktemp("whole"))


def scored(slide: Path, out: Path) -> Path:
    rosette("slide", "score", slide, "--out", out, *OPTIONS)
    [folder] = out.iterdir()
    return folder


def assert_same(one: Path, other: Path) -> None:
    """All files are equal to the byte, but for the times in ``run.json``."""
    for name in RESULTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    runs = [json.loads((folder / "run.json").read_text()) for folder in (one, other)]
    for run in runs:
        assert run.pop("started_at") <= run.pop("finished_at")
    assert runs[0] == runs[1]


def kill_when(slide: Path, out: Path, ready: Callable[[], bool]) -> bool:
    """Start a run and kill it with its processes once ``ready``; whether it was still running."""
    process = subprocess.Popen(
        [PROGRAM, "slide", "score", slide, "--out", out, *OPTIONS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = monotonic() + 300
    while process.poll() is None and not ready():
        assert monotonic() < end, "the run hangs"
        sleep(0.002)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def chunks_in(out: Path) -> set[int]:
    """The files of finished chunks; one that is written again is another file."""
    return {entry.inode() for folder in out.glob("*/chunks") for entry in os.scandir(folder) if entry.name[0] != "."}


def has_more(out: Path, before: set[int]) -> bool:
    return bool(chunks_in(out) - before)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    slide: Path, whole: Path, tmp_path: Path
) -> None:
    kills = 0
    for turn in range(KILLS):
        if turn % 3 == 2:
            for chunk in sorted(tmp_path.glob("*/chunks/*.chunk"))[1:]:
                chunk.write_bytes(chunk.read_bytes()[:-1000])
        kills += kill_when(slide, tmp_path, partial(has_more, tmp_path, chunks_in(tmp_path)))
    assert kills == KILLS
    assert chunks_in(tmp_path)
    assert_same(scored(slide, tmp_path), whole)


def test_what_a_run_left_is_taken_only_if_it_is_whole_and_its_own(slide: Path, whole: Path, tmp_path: Path) -> None:
    assert kill_when(slide, tmp_path, lambda: len(chunks_in(tmp_path)) >= 3)
    first, second, third = sorted(tmp_path.glob("*/chunks/*.chunk"))[:3]
    second.write_bytes(first.read_bytes())
    damaged = bytearray(third.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    third.write_bytes(damaged)
    (first.parent / f".{first.name}.half").write_bytes(b"rosette chunk 1\n")
    said = rosette("slide", "score", slide, "--out", tmp_path, *OPTIONS)
    assert "going on with the run in" in said
    [folder] = tmp_path.iterdir()
    assert_same(folder, whole)


def test_one_process_and_several_give_the_same_bytes(slide: Path, whole: Path, tmp_path: Path) -> None:
    rosette("slide", "score", slide, "--out", tmp_path, *OPTIONS[:-1], "1")
    [folder] = tmp_path.iterdir()
    assert_same(folder, whole)


def test_a_changed_file_is_scored_anew_and_said_to_be(tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "slide.svs", patchy(9, 12), 0.97)
    out = tmp_path / "out"
    scored(slide, out)
    with slide.open("ab") as file:
        file.write(b"more")
    said = rosette("slide", "score", slide, "--out", out, *OPTIONS)
    assert "not the file of the run in" in said
    assert len(list(out.iterdir())) == 2


def scored_and_touched(slide: Path, out: Path, touched: Path, *options: str) -> str:
    """What a run says that fails because a file was touched when it had begun."""
    command = [str(PROGRAM), "slide", "score", str(slide), "--out", str(out), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None and not list(out.glob("*/run.json")):
            sleep(0.002)
        os.utime(touched)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    return said


def test_a_run_whose_slide_was_touched_meanwhile_is_scored_anew(slide: Path, whole: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / slide.name, tmp_path / "out"
    shutil.copy(slide, copy)
    assert "was changed while it was scored" in scored_and_touched(copy, out, copy, *OPTIONS)
    assert "did not end or is damaged, so it is scored anew" in rosette("slide", "score", copy, "--out", out, *OPTIONS)
    [folder] = out.iterdir()
    assert_same(folder, whole)


def test_a_complete_run_that_was_damaged_is_scored_anew(slide: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    cells = folder / "cells.csv"
    cells.write_bytes(cells.read_bytes()[:-100])
    said = rosette("slide", "score", slide, "--out", tmp_path, *OPTIONS)
    assert "did not end or is damaged, so it is scored anew" in said
    assert_same(folder, whole)


def test_two_do_not_score_into_one_folder(slide: Path, tmp_path: Path) -> None:
    assert kill_when(slide, tmp_path, lambda: bool(chunks_in(tmp_path)))
    [folder] = tmp_path.iterdir()
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = rosette("slide", "score", slide, "--out", tmp_path, *OPTIONS, code=1)
    assert "another process scores it into" in said
    assert not (folder / "cells.csv").exists()
