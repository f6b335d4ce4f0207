"""``rosette predict FOLDER`` with the installed command: every file is a row."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from app.commands.results import CSV_COLUMNS
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.app.test_scale import per_cm

ROSETTE = Path(sys.executable).with_name("rosette")


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(ROSETTE), "predict", *map(str, arguments)]
    return subprocess.run(command, **({"capture_output": True, "text": True} | options))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "patches"
    (top / "b" / ".hidden").mkdir(parents=True)
    (top / "a").mkdir()
    patch = encoded(synthetic_patch("tumour", 7))
    for name in ("z.png", "b/2.png", "b/10.png", "a/=1+1.png", "b/.hidden/x.png", "._z.png", ".DS_Store"):
        (top / name).write_bytes(patch)
    (top / "a" / "blank.png").write_bytes(encoded(synthetic_patch("blank", 3)))
    (top / "notes.txt").write_text("no patch")
    (top / "empty.png").write_bytes(b"")
    (top / "slide.svs").write_bytes(bytes(2**20 + 1))
    (top / "wrong.tif").write_bytes(per_cm(0.485))
    os.mkfifo(top / "pipe")
    return top


def test_every_file_is_a_row(folder: Path, artifact_path: Path) -> None:
    done = run(folder, "--rotations", "exact", "--model", artifact_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr == "Files answered: 5 of 9, refused: 4.\n"
    found = rows(done.stdout)
    assert list(found[0]) == list(CSV_COLUMNS)
    files = [Path(row["file"]).relative_to(folder).as_posix() for row in found]
    assert files == [
        *("empty.png", "notes.txt", "slide.svs", "wrong.tif", "z.png"),
        *("a/=1+1.png", "a/blank.png", "b/10.png", "b/2.png"),
    ]
    problems = [row["problem"] for row in found]
    assert problems == ["empty-body", "not-an-image", "body-too-large", "wrong-scale", "", "", "", "", ""]
    assert all(row["detail"] for row in found[:4])
    assert all(row["decision"] == "" for row in found[:4])
    patch, blank = found[4], found[6]
    assert blank["decision"] == "not_assessable"
    assert (blank["label"], blank["probability"]) == ("", "")
    assert blank["reasons"]
    assert (patch["exact"], patch["format"], patch["microns_per_pixel"]) == ("true", "PNG", "")
    assert {row["patch_sha256"] for row in (found[4], found[5], found[7], found[8])} == {patch["patch_sha256"]}


def test_the_figures_are_those_of_the_answer(folder: Path, artifact_path: Path) -> None:
    single = json.loads(run(folder / "z.png", "--model", artifact_path).stdout)
    [row] = rows(run(folder / "z.png", "--csv", "--model", artifact_path).stdout)
    assert [float(row["logit_no_metastasis"]), float(row["logit_metastasis"])] == single["logits"]
    assert float(row["probability"]) == single["probability"]
    assert float(row["max_deviation"]) == single["consistency"]["max_deviation"]
    assert float(row["sharpness"]) == single["quality"]["sharpness"]
    assert row["patch_sha256"] == single["patch"]["sha256"]
    assert row["model_sha256"] == single["model"]["sha256"]


def test_into_a_file_in_the_folder_itself_and_again(folder: Path, artifact_path: Path) -> None:
    output = folder / "a" / "answers.csv"
    for _ in range(2):
        done = run(folder / "a", "--rotations", "none", "--output", output, "--model", artifact_path)
        assert (done.returncode, done.stdout) == (0, "")
        with output.open(newline="") as stream:
            assert [Path(row["file"]).name for row in csv.DictReader(stream)] == ["=1+1.png", "blank.png"]


def test_a_formula_as_a_name_stays_text(folder: Path, artifact_path: Path) -> None:
    done = run(".", "--rotations", "none", "--model", artifact_path, cwd=folder / "a")
    assert [row["file"] for row in rows(done.stdout)] == ["'=1+1.png", "blank.png"]


def test_the_callers_scale_counts(folder: Path, artifact_path: Path) -> None:
    wrong = folder / "wrong.tif"
    for mpp, status in (("ignore", 0), ("1.0", 0), ("0.5", 1)):
        done = run(wrong, "--mpp", mpp, "--rotations", "none", "--model", artifact_path)
        assert done.returncode == status, done.stderr
    assert json.loads(done.stdout)["problem"]["type"] == "/problems/wrong-scale"


@pytest.mark.parametrize(
    "arguments", [["--mpp", "half"], ["--mpp", "0"], ["--output", "patch.PNG"], ["--rotations", "some"]]
)
def test_a_wrong_command_line_ends_with_2_and_writes_nothing(folder: Path, arguments: list[str]) -> None:
    done = run(folder, *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert not (folder / "patch.PNG").exists()


def test_a_folder_without_files_is_said(tmp_path: Path, artifact_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    done = run(tmp_path, "--model", artifact_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "contains no files" in done.stderr


def test_names_that_are_no_text_are_written_all_the_same(tmp_path: Path, artifact_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(encoded(synthetic_patch("tumour", 7)))
    done = run(tmp_path, "--rotations", "none", "--model", artifact_path)
    assert (done.returncode, done.stderr) == (0, "Files answered: 1 of 1, refused: 0.\n")
    assert rows(done.stdout)[0]["file"].endswith("�.png")


def test_the_progress_bar_is_for_terminals_alone(folder: Path, artifact_path: Path) -> None:
    terminal, inside = pty.openpty()
    options = {"stdout": subprocess.PIPE, "stderr": inside, "capture_output": False}
    done = run(folder / "b", "--rotations", "none", "--model", artifact_path, **options)
    os.close(inside)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "2/2" in shown
    assert len(rows(done.stdout)) == 2
    assert "2/2" not in run(folder / "b", "--rotations", "none", "--model", artifact_path).stderr
