"""Damaged data folders: each ends with a message that names the file and the error, and nothing is trained."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.installed import PROGRAM, in_process
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


Run = Callable[..., tuple[int, str, str]]


def installed(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def here(*arguments: str | Path) -> tuple[int, str, str]:
    """The same of the command within this process."""
    result = in_process(*arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("case", "rosette"), [("label 255", installed), ("HDF5 cut", here), ("a patch of train in valid", here)]
)
def test_train_exits_with_2_and_leaves_no_run(whole: Path, tmp_path: Path, case: str, rosette: Run) -> None:
    data = spoilt(whole, tmp_path, case)
    code, out, err = rosette("train", tmp_path / "run", "--data", data, "--topology", "fast")
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("rosette train: ")
    with pytest.raises(DataError) as caught:
        load_to_fit(data)
    assert str(caught.value) in line
    assert out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("case", "split", "rosette"), [("valid of one class", "valid", installed), ("test cut", "test", here)]
)
def test_evaluate_exits_with_2_and_prints_no_figure(
    whole: Path, tmp_path: Path, artifact_path: Path, case: str, split: str, rosette: Run
) -> None:
    code, out, err = rosette("evaluate", artifact_path, "--data", spoilt(whole, tmp_path, case), "--split", split)
    assert code == 2
    assert err.startswith(f"rosette evaluate: {split}.parquet ")
    assert len(err.splitlines()) == 1
    assert out == ""
