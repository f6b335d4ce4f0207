"""run.json and cells.csv: what is written is read again to the last bit, and what is damaged is refused by its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slides.cells import COLUMNS, Cells, State, read_cells, read_run, write_cells
from slides.runfile import RunError, read_runfile, write_runfile
from tests.slides.synthetic import cells_of, run_folder, run_of

DRAWING = ("..12", "x9#o", ".55.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", DRAWING)


def replace(folder: Path, line: int, old: str, new: str) -> None:
    """Change one line of cells.csv, the header being line 1."""
    path = folder / "cells.csv"
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("".join(lines))


def test_every_value_survives(tmp_path: Path) -> None:
    cells = cells_of(DRAWING)
    cells.turns[1, 1], cells.shifts[1, 1], cells.probability[1, 1] = 0.1, 1 / 3, np.nextafter(0.9, 1)
    cells.logits[1, 1] = np.array([-1 / 3, 2e-40], dtype=np.float32)
    write_cells(tmp_path / "cells.csv", cells)
    again = read_cells(tmp_path / "cells.csv", run_of(cells).grid)
    for field in dataclasses.fields(Cells):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(cells, field.name))
        if field.name != "reason":
            assert getattr(again, field.name).dtype == getattr(cells, field.name).dtype


def test_one_row_for_each_cell_in_row_major_order(folder: Path) -> None:
    header, *lines = (folder / "cells.csv").read_text().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert [line.split(",")[:2] for line in lines] == [[str(c), str(r)] for r in range(3) for c in range(4)]
    assert lines[5].startswith("1,1,64,64,64,64,scored,,0x0.0p+0,0x1.")
    assert lines[0] == "0,0,0,0,64,64,glass,,,,,,,,,,,"


def test_states_are_masks(folder: Path) -> None:
    _, cells = read_run(folder)
    assert np.argwhere(cells.where(State.HOLE)).tolist() == [[1, 3]]
    assert cells.reason == {(1, 0): "sharpness", (1, 3): "unreadable"}


def test_a_run_survives(folder: Path) -> None:
    run = read_runfile(folder)
    write_runfile(folder, run)
    assert read_runfile(folder) == run
    assert json.loads((folder / "run.json").read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("line", "old", "new", "said"),
    [
        (1, "column", "colum", "expected the columns"),
        (3, "1,0,", "2,0,", "expected column 1, row 0"),
        (3, ",64,0,64", ",65,0,64", "begins at pixel 65, expected 64"),
        (7, ",64,64,64,", ",64,64,63,", "expected 64 to 128 as before"),
        (2, ",64,64,", ",0,64,", "at least one pixel"),
        (2, ",64,64,", ",6.4,64,", "invalid literal"),
        (2, ",64,64,", ",99999999999999,64,", "whole number of pixels"),
        (2, "glass", "vetro", "the state 'vetro'"),
        (2, "glass,", "glass,because", "the reason 'because'"),
        (2, "glass,,,", "glass,,0x1p0,0x1p0", "are missing"),
        (4, "scored,,", "scored,stain,", "scored with a reason"),
        (4, "scored", "glass", "glass with logits"),
        (6, "sharpness", "", "not_assessable without a reason"),
        (7, "0x0.0p+0", "0x1.00000001p+0", "finite float32"),
        (7, "0x0.0p+0", "nan", "finite float32"),
        (7, "0x0.0p+0", "0x1p999", "finite float32"),
        (7, "0x0.0p+0", "0x1p9999", "too large"),
        (7, "0x0.0p+0", "", "some of both logits"),
        (7, ",0.9,", ",1.5,", "outside 0 to 1"),
        (7, ",1500.0,", ",inf,", "finite number"),
        (7, ",1500.0,", ",1500.0,,", "19 fields, expected 18"),
        (7, ",1500.0,", "," + "9" * 2000 + ",", "longer than"),
    ],
)
def test_damage_is_refused_by_its_line(folder: Path, line: int, old: str, new: str, said: str) -> None:
    replace(folder, line, old, new)
    with pytest.raises(RunError, match=said) as refused:
        read_run(folder)
    assert f"cells.csv, line {line}: " in str(refused.value)


def refusal(folder: Path) -> str | None:
    """Why a run is refused, None if it is read."""
    try:
        read_run(folder)
    except RunError as error:
        return str(error)
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["cells.csv", "run.json"]), st.data())
def test_any_damage_is_refused_or_read(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / name
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    put = data.draw(st.one_of(st.binary(max_size=4), st.text('0123456789.-+xpeE_,\n"[]{}', max_size=6).map(str.encode)))
    path.write_bytes(whole[:at] + put + whole[at + data.draw(st.integers(0, 8)) :])
    said = refusal(folder)
    path.write_bytes(whole)
    assert said is None or str(folder) in said


def test_missing_and_further_rows_are_refused(folder: Path) -> None:
    path = folder / "cells.csv"
    whole = path.read_text()
    path.write_text(whole[: whole.rindex("3,2,")])
    with pytest.raises(RunError, match="line 13: it ends here, expected 12 cells"):
        read_run(folder)
    path.write_text(whole + "0,3,0,192,64,64,glass,,,,,,,,,,,\n")
    with pytest.raises(RunError, match="line 14: it goes on"):
        read_run(folder)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "cells.csv").write_bytes(b"\xff\x00" * 100)
    with pytest.raises(RunError, match="line 1: expected the columns"):
        read_run(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema"),
        ({"state": "running"}, "not complete"),
        ({"surprise": 1}, "surprise"),
        ({"grid": {"columns": 100_000, "rows": 100_000}}, "cells are more than"),
    ],
)
def test_other_runs_are_refused(folder: Path, change: dict[str, object], said: str) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=said):
        read_run(folder)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read") as refused:
        read_run(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_is_no_runfile_is_refused(folder: Path) -> None:
    (folder / "run.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(RunError, match="larger than"):
        read_runfile(folder)


def test_a_failed_write_leaves_what_was_there(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    cells = cells_of(DRAWING)
    cells.density = np.empty((0, 0, 3))
    with pytest.raises(IndexError):
        write_cells(folder / "cells.csv", cells)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
