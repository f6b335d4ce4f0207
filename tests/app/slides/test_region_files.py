"""What a process without rights left in ``regions.geojson`` is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.slides.region_files import MAX_BYTES, regions_of
from app.web.slide_map import read_regions
from slides.products import write
from slides.regions import Rule
from slides.runfile import RunError
from tests.slides.synthetic import run_folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = run_folder(tmp_path / "run", ["..9#....", "..99..8#", "......88"])
    write(folder, Rule(min_area_mm2=0.0))
    return folder / "regions.geojson"


def test_regions_are_read_by_their_number(file: Path) -> None:
    assert [each.cells for each in regions_of(file)] == [each.cells for each in read_regions(file).rows]
    assert all(0 < each.largest <= 1 for each in regions_of(file))
    assert len(read_regions(file).rows) == 2


@pytest.mark.parametrize("cells", [float("inf"), float("nan"), "x", None])
def test_a_region_that_makes_no_sense_is_damage(file: Path, cells: Any) -> None:
    content = json.loads(file.read_text())
    content["features"][0]["properties"]["measurements"]["Cells"] = cells
    file.write_text(json.dumps(content))
    assert_damaged(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_list_of_regions_is_damage(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert_damaged(file)


def test_no_more_than_its_bound_is_read(file: Path) -> None:
    with file.open("ab") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert_damaged(file)
    file.unlink()
    assert_damaged(file)


def assert_damaged(file: Path) -> None:
    with pytest.raises(ValueError, match="the files of this run are damaged or gone: score the slide again"):
        regions_of(file)
    with pytest.raises(RunError, match="cannot be read"):
        read_regions(file)
