"""Damaged data folders: each ends with a message that names the file and the error, and nothing is trained."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import spoilt_files, spoilt_parquet
from tests.training.layouts import LAYOUTS
from training.data import DataError, load_to_fit

CASES = spoilt_parquet.CASES | spoilt_files.CASES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in each layout, without a fault."""
    root = tmp_path_factory.mktemp("whole")
    for name, write in LAYOUTS.items():
        (root / name).mkdir()
        write(root / name)
    return root


def spoilt(whole: Path, root: Path, case: str) -> Path:
    layout, spoil, _ = CASES[case]
    shutil.copytree(whole / layout, root / "data")
    spoil(root / "data")
    return root / "data"


@pytest.mark.parametrize("case", CASES)
def test_a_spoilt_folder_ends_in_one_sentence_with_the_file_and_the_fault(
    whole: Path, tmp_path: Path, case: str
) -> None:
    data = spoilt(whole, tmp_path, case)
    with pytest.raises(DataError, match=CASES[case][2]) as caught:
        load_to_fit(data)
    assert "\n" not in str(caught.value)


def test_there_are_at_least_54_spoilt_folders() -> None:
    assert len(CASES) >= 54


def rosette(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("rosette")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("case", ["label 255", "HDF5 cut", "a patch of train in valid"])
def test_the_installed_train_exits_with_2_and_leaves_no_run(whole: Path, tmp_path: Path, case: str) -> None:
    done = rosette("train", tmp_path / "run", "--data", spoilt(whole, tmp_path, case), "--topology", "fast")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rosette train: ")
    with pytest.raises(DataError) as caught:
        load_to_fit(tmp_path / "data")
    assert str(caught.value) in line
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("case", "split"), [("valid of one class", "valid"), ("test cut", "test")])
def test_the_installed_evaluate_exits_with_2_and_prints_no_figure(
    whole: Path, tmp_path: Path, artifact_path: Path, case: str, split: str
) -> None:
    done = rosette("evaluate", artifact_path, "--data", spoilt(whole, tmp_path, case), "--split", split)
    assert done.returncode == 2
    assert done.stderr.startswith(f"rosette evaluate: {split}.parquet ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
