"""From a run folder to regions, map, report and other programs' files, by the installed command too."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from model_zoo.notice import NOTICE
from slides.cells import read_run
from slides.heatmap import LAYERS, layer
from slides.products import Format, Map, write
from slides.regions import Rule
from slides.runfile import RunError, read_runfile
from tests.installed import rosette
from tests.slides.synthetic import SIDE, cells_of, run_folder, run_of

DRAWING = ("....1..", ".99#1x.", ".9x9..o", ".999.11", "1......")
EVEN = Rule(prevalence=0.5, min_area_mm2=0)
PRODUCTS = {"run.json", "cells.csv", "regions.geojson", "heatmap.png", "report.html"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", DRAWING, bounds_x=40, bounds_y=8)


def test_a_run_gets_its_products_and_the_same_ones_again(folder: Path) -> None:
    cells = (folder / "cells.csv").read_bytes()
    write(folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == PRODUCTS
    assert first["cells.csv"] == cells
    write(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_an_unfinished_run_gets_nothing(folder: Path) -> None:
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"complete"', '"running"'))
    with pytest.raises(RunError, match="not complete"):
        write(folder)
    assert {each.name for each in folder.iterdir()} == {"run.json", "cells.csv"}


@pytest.mark.parametrize("drawing", [(".",), ("9",), ("....", "...."), ("xo", "ox")])
def test_every_map_has_products(tmp_path: Path, drawing: tuple[str, ...]) -> None:
    made = write(run_folder(tmp_path / "run", drawing), EVEN)
    assert {path.name for path in (tmp_path / "run").iterdir()} == PRODUCTS
    assert made.run.scope is None


def test_regions_are_geojson_in_level_0_pixels(folder: Path) -> None:
    write(folder, EVEN)
    read = json.loads((folder / "regions.geojson").read_text())
    (feature,) = read["features"]
    assert (read["type"], read["rosette"]["notice"], read["rosette"]["scope"]) == (
        "FeatureCollection",
        NOTICE,
        None,
    )
    assert feature["geometry"] == {
        "type": "Polygon",
        "coordinates": [
            [[SIDE * x, SIDE * y] for x, y in ((1, 1), (4, 1), (4, 4), (1, 4), (1, 1))],
            [[SIDE * x, SIDE * y] for x, y in ((2, 2), (2, 3), (3, 3), (3, 2), (2, 2))],
        ],
    }


def test_qupath_reads_what_it_gets_from_the_corner_of_the_scanned_part(folder: Path) -> None:
    """What `QuPathTypeAdapters` and `ROITypeAdapters` of QuPath 0.5 look for."""
    read = json.loads(Map.read(folder, EVEN).export(Format.QUPATH))
    (feature,) = read["features"]
    assert feature["geometry"]["coordinates"][0][0] == [SIDE - 40, SIDE - 8]
    assert str(UUID(feature["id"])) == feature["id"]
    properties = feature["properties"]
    assert properties["objectType"] == "annotation"
    assert properties["isLocked"] is True
    assert (properties["name"], set(properties["classification"])) == ("Region 1", {"name", "color"})
    assert all(isinstance(value, int | float) for value in properties["measurements"].values())
    assert all(isinstance(value, str) for value in properties["metadata"].values())
    assert properties["measurements"]["Cells not judged inside"] == 1


def test_tiles_have_no_class(folder: Path) -> None:
    read = json.loads(Map.read(folder, EVEN).export(Format.QUPATH, tiles=True))
    assert len(read["features"]) == 13
    for feature in read["features"]:
        assert feature["properties"]["objectType"] == "tile"
        assert "classification" not in feature["properties"]
        assert len(feature["geometry"]["coordinates"][0]) == 5
    assert len({feature["id"] for feature in read["features"]}) == 13


def test_csv_has_the_columns_of_wsinfer(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(Map.read(folder, EVEN).export(Format.CSV).decode())))
    assert list(rows[0]) == ["minx", "miny", "width", "height", "prob_no_metastasis", "prob_metastasis"]
    assert len(rows) == 13
    assert rows[0] == {
        "minx": str(4 * SIDE),
        "miny": "0",
        "width": str(SIDE),
        "height": str(SIDE),
        "prob_no_metastasis": "0.9",
        "prob_metastasis": "0.1",
    }


def test_glass_is_transparent_and_what_was_not_judged_is_not(folder: Path) -> None:
    run, cells = read_run(folder)
    for which in LAYERS:
        alpha = np.array(layer(run, cells, which, 0.5))[..., 3] == 255
        assert not alpha[0, 0]
        assert alpha[1, 5]
        assert alpha[2, 6]
        assert alpha[1, 1] == (which == "probability")


def test_a_higher_probability_is_lighter(folder: Path) -> None:
    run, cells = read_run(folder)
    luma = np.array(layer(run, cells, "probability", 0.5).convert("L")).astype(int)
    assert luma[0, 4] < luma[1, 1] < luma[1, 3]


def test_the_map_is_a_picture_with_a_legend(folder: Path) -> None:
    picture = Image.open(io.BytesIO(Map.read(folder, EVEN).export(Format.PNG)))
    assert picture.mode == "RGBA"
    assert picture.height > 5 * 16
    assert picture.info == {}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(folder: Path) -> _Page:
    page = _Page()
    page.feed((folder / "report.html").read_text())
    return page


def test_the_report_says_what_was_and_was_not_judged(folder: Path) -> None:
    write(folder, EVEN)
    page = report(folder)
    text = re.sub(r"\s+", " ", page.text)
    for said in (
        NOTICE,
        "synthetic.svs",
        "0.485 µm",
        "accurate 0.4.0",
        "out of focus",
        "could not be read",
        "Scope not checked",
    ):
        assert said in text
    assert "Region" in text


def test_what_could_not_be_read_is_told_from_the_share_that_is_too_much(tmp_path: Path) -> None:
    for holes, many in ((0, None), (1, False), (2, True)):
        folder = run_folder(tmp_path / str(holes), ("o" * holes + "9" * (20 - holes) + "..",))
        write(folder, EVEN)
        said = json.loads((folder / "regions.geojson").read_text())["rosette"].get("unread")
        assert (said and said["many"]) is many
        assert ("A part of the slide could not be read" in report(folder).text) is (holes > 0)
        if said:
            assert (said["cells"], said["of"]) == (holes, 20)
            assert f"{holes} of 20 cells that may hold tissue ({5 * holes} %) could not be read" in said["text"]
            assert said["text"] in re.sub(r"\s+", " ", report(folder).text)


def test_the_report_loads_nothing_from_elsewhere(folder: Path) -> None:
    write(folder)
    page = report(folder)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    sources = [attributes[name] for _, attributes in page.tags for name in ("src", "href") if name in attributes]
    assert [str(source)[:22] for source in sources] == ["data:image/png;base64,"]
    assert "url(" not in (folder / "report.html").read_text()


def test_a_slides_name_is_text(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", DRAWING, name="<script>alert(1)</script>.svs")
    write(folder)
    assert "script" not in {tag for tag, _ in report(folder).tags}
    assert "<script>alert(1)</script>.svs" in report(folder).text


def test_the_map_of_a_slide_out_of_scope_is_behind_a_click(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", ("1" * 8,) * 8)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    made = write(folder, patch_at=lambda column, row: noise)
    assert made.run.scope is not None
    assert made.run.scope.verdict == "out_of_scope"
    assert read_runfile(folder).scope == write(folder).run.scope == made.run.scope
    assert "do not rely on its probabilities" in rosette("slide", "export", folder, "--to", "qupath")
    tags = [tag for tag, _ in report(folder).tags]
    assert tags.index("details") < tags.index("img")
    assert "Not what this model was made for" in report(folder).text


def test_the_command_finds_regions_by_another_rule(folder: Path) -> None:
    assert "No region" in rosette("slide", "regions", folder, "--prevalence", "0.01")
    assert "1 inside" in rosette("slide", "regions", folder, "--prevalence", "0.5", "--min-area", "0.001")
    assert json.loads((folder / "regions.geojson").read_text())["rosette"]["rule"]["prevalence"] == 0.5


@pytest.mark.parametrize(("to", "name"), [("csv", "wsinfer.csv"), ("qupath", "qupath.geojson"), ("png", "map.png")])
def test_the_command_exports(folder: Path, to: str, name: str) -> None:
    assert str(folder / name) in rosette("slide", "export", folder, "--to", to)
    assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("regions", "{}", "--prevalence", "1"), 1, "prevalence is 1.0: input should be less than 1"),
        (("score", "{}", "--out", "{}/out", "--prevalence", "nan"), 2, "prevalence is nan: input should be"),
        (("score", "{}", "--out", "{}/out", "--cluster-tls", "{}"), 2, "give --cluster tls://HOST:PORT, too"),
        (("regions", "{}", "--low", "0.9"), 1, "low bound 0.9 is above"),
        (("regions", "{}/nowhere"), 1, "cannot be read"),
        (("export", "{}", "--to", "csv", "--tiles"), 2, "only --to qupath knows tiles"),
        (("export", "{}", "--to", "csv", "-o", "{}/nowhere/x.csv"), 1, "No such file"),
    ],
)
def test_the_command_says_what_is_wrong(folder: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    printed = rosette("slide", *(argument.format(folder) for argument in arguments), code=code)
    assert said in printed
    assert "Traceback" not in printed
    assert {path.name for path in folder.iterdir()} == {"run.json", "cells.csv"}


def test_a_big_slide_has_a_map_of_bounded_size() -> None:
    cells = cells_of(["1" * 1300] * 40)
    picture = layer(run_of(cells), cells, "probability", 0.05)
    assert picture.size == (1300, 40)
