"""The DICOM objects of a run: values, places, references and refusals, read back by other programs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from model_zoo.notice import NOTICE
from slides.cells import CELLS_FILE, write_cells
from slides.errors import SlideError
from slides.export.dicom import MAP_FILE, REPORT_FILE, checked_source, dicom_files
from slides.export.dicom_source import read_source
from slides.export.outline import single_ring
from slides.products import Map, write
from slides.regions import Point, Rule
from slides.runfile import read_runfile, write_runfile
from tests.installed import rosette
from tests.slides.dicom_made import convert, header, saved
from tests.slides.made import tissue, write_svs
from tests.slides.synthetic import SIDE, cells_of, run_folder, run_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
# One region with holes, one of them apart, and a part that hangs on it by a corner; and one of a single cell.
DRAWING = ("999999....", "9.99.9....", "999999....", "99x9#9....", "999999....", "......9..9", "....1..o..")
EVEN = Rule(prevalence=0.5, min_area_mm2=0)
OPTIONS = ("--rotations", "none", "--shifts", "none", "--processes", "1", "--prevalence", "0.4")
ORIENTATIONS = ([0, -1, 0, -1, 0, 0], [0.6, 0.8, 0, 0.8, -0.6, 0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", DRAWING)


def exported(folder: Path, source: Path, rule: Rule = EVEN) -> tuple[Map, dict[str, bytes]]:
    made = Map.read(folder, rule)
    return made, dicom_files(read_source(source, made.run), made.run, made.cells, made.regions, rule)


def geometry(image: pydicom.Dataset) -> dict[str, Any]:
    """What highdicom's transformers need of an image's total pixel matrix."""
    origin = image.TotalPixelMatrixOriginSequence[0]
    return {
        "image_position": [origin[f"{axis}OffsetInSlideCoordinateSystem"].value for axis in "XYZ"],
        "image_orientation": image.ImageOrientationSlide,
        "pixel_spacing": image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing,
    }


def level_0(points: Any, source: pydicom.Dataset) -> Any:
    """Slide coordinates as pixels from the corner of the source's matrix, by highdicom."""
    found = hd.spatial.ReferenceToImageTransformer(**geometry(source))(np.asarray(points, float))
    assert np.abs(found[:, 2]).max() < 1e-3
    return found[:, :2]


def content_of(report: bytes) -> Any:
    return hd.sr.srread(io.BytesIO(report)).content


def groups_of(report: bytes) -> Any:
    return content_of(report).get_planar_roi_measurement_groups()


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_the_map_has_each_cells_value_at_its_place(folder: Path, orientation: list[float], tmp_path: Path) -> None:
    image = header(Map.read(folder, EVEN).run, ImageOrientationSlide=orientation)
    made, files = exported(folder, saved(image, tmp_path / "slide"))
    read = hd.pm.ParametricMap.from_file(io.BytesIO(files[MAP_FILE]))
    expected = np.where(made.cells.state == 0, made.cells.probability, np.nan).astype(np.float32)
    np.testing.assert_array_equal(read.get_total_pixel_matrix(), expected)
    assert np.isnan(read.FloatPixelPaddingValue)
    indices = np.array([(column, row) for row in range(len(DRAWING)) for column in range(len(DRAWING[0]))])
    centres = hd.spatial.PixelToReferenceTransformer(**geometry(read))(indices)
    np.testing.assert_allclose(level_0(centres, image), (indices + 0.5) * SIDE, atol=1e-3)
    [mapping] = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "122157"


def sides(rings: list[list[Point]]) -> Counter[tuple[Point, Point]]:
    """How often each side of a cell is walked in this direction more often than in the other."""
    walked: Counter[tuple[Point, Point]] = Counter()
    for (x0, y0), (x1, y1) in (step for ring in rings for step in pairwise(ring)):
        count = max(abs(x1 - x0), abs(y1 - y0)) // SIDE
        at = [(x0 + (x1 - x0) * n // count, y0 + (y1 - y0) * n // count) for n in range(count + 1)]
        walked.update(pairwise(at))
    return Counter({(a, b): count - walked[b, a] for (a, b), count in walked.items() if count > walked[b, a]})


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_regions_lie_where_the_geojson_has_them(folder: Path, orientation: list[float], tmp_path: Path) -> None:
    image = header(Map.read(folder, EVEN).run, ImageOrientationSlide=orientation)
    made, files = exported(folder, saved(image, tmp_path / "slide"))
    write(folder, EVEN)
    features = json.loads((folder / "regions.geojson").read_text())["features"]
    groups = groups_of(files[REPORT_FILE])
    assert len(groups) == len(features) == len(made.regions) == 2
    for group, feature, region in zip(groups, features, made.regions, strict=True):
        [outline] = [item for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"]
        assert (outline.GraphicType, outline.ReferencedFrameOfReferenceUID) == ("POLYGON", "1.2.5")
        found = level_0(outline.value, image)
        corners = [(int(x), int(y)) for x, y in found.round()]
        assert np.abs(found - corners).max() < 0.05
        assert corners[0] == corners[-1]
        shape = feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        rings = [[(x, y) for x, y in ring] for polygon in polygons for ring in polygon]
        assert sides([corners]) == sides(rings)
        assert len(corners) < sum(map(len, rings)) + 8
        figures = {
            (each.name.meaning, *(item.value.meaning for item in each[0].get("ContentSequence", ()))): each.value
            for each in group.get_measurements()
        }
        assert figures["Probability", "At the stated prevalence", "Mean"] == pytest.approx(region.mean_moved)
        assert figures["Probability", "At the calibration's prevalence", "Maximum"] == pytest.approx(region.largest)
        assert figures["Cells not judged inside",] == region.not_judged_inside
        assert figures["Area",] == pytest.approx(region.area_mm2)
        assert int(group.tracking_uid.removeprefix("2.25.")) == int(feature["id"].replace("-", ""), 16)


def test_a_region_with_holes_and_parts_is_one_closed_ring(folder: Path) -> None:
    first, *_ = Map.read(folder, EVEN).regions
    rings = [ring for polygon in first.polygons for ring in polygon]
    assert (len(first.polygons), len(rings)) == (2, 5)
    assert sides([single_ring(first.polygons)]) == sides(rings)


def test_both_objects_say_whose_they_are_and_that_nobody_reviewed_them(folder: Path, tmp_path: Path) -> None:
    image = header(Map.read(folder, EVEN).run, TimezoneOffsetFromUTC="-0130", StudyDate="20261128", StudyTime="1200")
    made, files = exported(folder, saved(image, tmp_path / "slide"))
    assert exported(folder, tmp_path / "slide")[1] == files
    uids = set()
    for content in files.values():
        read = pydicom.dcmread(io.BytesIO(content))
        assert (read.PatientID, read.PatientName, read.PatientBirthDate) == ("P-7", "Lovelace^Ada", "")
        assert (read.StudyInstanceUID, read.StudyDate, read.AccessionNumber) == ("1.2", "20261128", "")
        assert (read.ContentDate, read.ContentTime, read.TimezoneOffsetFromUTC) == ("20261129", "093000", "-0130")
        assert (read.Manufacturer, read.DeviceSerialNumber) == ("Rosette", made.run.model.sha256)
        assert "1.2.3.4" in str(read)
        assert NOTICE.encode() in content
        uids |= {read.SOPInstanceUID, read.SeriesInstanceUID}
    assert len(uids) == 4
    assert all(uid.startswith("2.25.") for uid in uids)
    report = pydicom.dcmread(io.BytesIO(files[REPORT_FILE]))
    flags = report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    [device] = content_of(files[REPORT_FILE]).get_observer_contexts()
    attributes = device.observer_identifying_attributes
    assert (attributes.name, attributes.model_name) == ("Rosette", "accurate 0.4.0")
    assert attributes.serial_number == made.run.model.sha256
    other = exported(folder, tmp_path / "slide", Rule(prevalence=0.4, min_area_mm2=0))[1]
    assert other[MAP_FILE] == files[MAP_FILE]
    assert pydicom.dcmread(io.BytesIO(other[REPORT_FILE])).SOPInstanceUID != report.SOPInstanceUID


def test_no_offset_is_claimed_for_times_of_the_source_that_state_none(folder: Path, tmp_path: Path) -> None:
    image = header(Map.read(folder, EVEN).run, StudyDate="20261128", StudyTime="1200")
    for content in exported(folder, saved(image, tmp_path / "slide"))[1].values():
        assert "TimezoneOffsetFromUTC" not in pydicom.dcmread(io.BytesIO(content))


def test_a_run_without_regions_has_a_report(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", ("11.", "x1o"))
    made, files = exported(folder, saved(header(Map.read(folder, EVEN).run), tmp_path / "slide"))
    assert not made.regions
    assert groups_of(files[REPORT_FILE]) == []
    [slide] = content_of(files[REPORT_FILE]).get_image_measurement_groups()
    figures = {each.name.meaning: each.value for each in slide.get_measurements()}
    assert (figures["Cells scored"], figures["Cells not assessable"], figures["Regions"]) == (3, 1, 0)
    [scope] = slide.get_qualitative_evaluations()
    assert scope.value.value == "scope-unknown"


def test_a_long_outline_is_whole(tmp_path: Path) -> None:
    """Explicit VRs bound a polygon to 5,461 points."""
    cells = cells_of(["9" * 2801, "9." * 1400 + "9"])
    (tmp_path / "run").mkdir()
    write_cells(tmp_path / "run" / CELLS_FILE, cells)
    write_runfile(tmp_path / "run", run_of(cells))
    image = header(run_of(cells))
    made, files = exported(tmp_path / "run", saved(image, tmp_path / "slide"))
    read = pydicom.dcmread(io.BytesIO(files[REPORT_FILE]))
    assert read.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    [group] = groups_of(files[REPORT_FILE])
    [outline] = [item for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"]
    corners = [(int(x), int(y)) for x, y in level_0(outline.value, image).round()]
    assert len(corners) > 5461
    assert corners == single_ring(made.regions[0].polygons)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TotalPixelMatrixColumns": 10}, "has 10 × 448 pixels, the scored one 640 × 448"),
        ({"FrameOfReferenceUID": None}, r"lacks Frame of Reference UID \(0020,0052\): export the slide again"),
        ({"TotalPixelMatrixOriginSequence": []}, r"lacks Total Pixel Matrix Origin Sequence \(0048,0008\)"),
        ({"ImageOrientationSlide": [1, 0, 0, 1, 0, 0]}, "is not two perpendicular directions"),
        ({"ImageOrientationSlide": [1, 0, 0]}, "expected 6 finite numbers"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "holds no VL Whole Slide Microscopy image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "holds no VL Whole Slide Microscopy image"),
        ({"PatientSex": "X"}, "attributes of the DICOM slide cannot be taken over"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_source_that_says_too_little_or_is_another_slide_is_refused(
    folder: Path, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    image = header(Map.read(folder, EVEN).run, **changes)
    with pytest.raises(SlideError, match=words):
        exported(folder, saved(image, tmp_path / "slide"))


def test_a_source_of_another_scale_or_of_two_series_is_refused(folder: Path, tmp_path: Path) -> None:
    run = Map.read(folder, EVEN).run
    image = header(run)
    source = saved(image, tmp_path / "slide")
    image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.00025, 0.00025]
    with pytest.raises(SlideError, match=r"states 0\.25 microns per pixel, the run 0\.485"):
        exported(folder, saved(image, tmp_path / "fine"))
    saved(header(run, SeriesInstanceUID="1.2.4"), source, "other.dcm")
    with pytest.raises(SlideError, match="images of 2 series"):
        exported(folder, source)


def test_a_source_that_does_not_exist_is_named(folder: Path, tmp_path: Path) -> None:
    made = Map.read(folder, EVEN)
    with pytest.raises(SlideError, match=r"elsewhere does not exist: name the DICOM slide's folder with --source"):
        checked_source(folder, made.run, made.cells, tmp_path / "elsewhere")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An SVS, and the DICOM folder made of it."""
    folder = tmp_path_factory.mktemp("slide")
    svs = write_svs(folder / "s.svs", tissue(["tnt.n", "nttn.", "n.ntt"], 1.944), 0.499)
    return svs, convert(svs, folder / "dicom")


@pytest.fixture(scope="module")
def runs(converted: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of the DICOM slide, and the same run as if of the SVS: its cells are the same."""
    out = tmp_path_factory.mktemp("runs")
    rosette("slide", "score", converted[1], "--out", out, *OPTIONS)
    [dicom] = out.iterdir()
    shutil.copytree(dicom, out / "aperio")
    run = read_runfile(dicom)
    slide = run.slide.model_copy(update={"vendor": "aperio", "name": "s.svs", "sha256": "5" * 64})
    write_runfile(out / "aperio", run.model_copy(update={"slide": slide}))
    return {"dicom": dicom, "aperio": out / "aperio"}


def errors_of(file: Path) -> Iterator[str]:
    done = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
    yield from (line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort")))


def test_the_command_writes_what_the_standards_checker_accepts(
    runs: dict[str, Path], converted: tuple[Path, Path], tmp_path: Path
) -> None:
    said = rosette("slide", "export", runs["dicom"], "--to", "dicom", "--prevalence", "0.4")
    other = rosette("slide", "export", runs["aperio"], "--to", "dicom", "--source", converted[1], "-o", tmp_path)
    for folder, printed in ((runs["dicom"], said), (tmp_path, other)):
        for name in (MAP_FILE, REPORT_FILE):
            assert str(folder / name) in printed
    maps = [hd.pm.ParametricMap.from_file(folder / MAP_FILE) for folder in (runs["dicom"], tmp_path)]
    cells = Map.read(runs["aperio"], EVEN).cells
    for read in maps:
        expected = np.where(cells.state == 0, cells.probability, np.nan).astype(np.float32)
        np.testing.assert_array_equal(read.get_total_pixel_matrix(), expected)
    assert maps[0].SOPInstanceUID != maps[1].SOPInstanceUID
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: install dicom3tools")
    for name in (MAP_FILE, REPORT_FILE):
        assert list(errors_of(runs["dicom"] / name)) == []


def test_another_slide_of_the_same_size_is_refused(
    runs: dict[str, Path], converted: tuple[Path, Path], tmp_path: Path
) -> None:
    made = {name: Map.read(folder, EVEN) for name, folder in runs.items()}
    given = {name: (runs[name], each.run, each.cells) for name, each in made.items()}
    made["aperio"].cells.density[:] += 0.02
    with pytest.raises(SlideError, match=r"are not those of s\.svs"):
        checked_source(*given["aperio"], converted[1])
    with pytest.raises(SlideError, match=r"s\.svs is no DICOM slide.*name its folder with --source"):
        checked_source(*given["aperio"], None)
    other = tmp_path / "other"
    shutil.copytree(converted[1], other)
    [file] = other.iterdir()
    image = pydicom.dcmread(file)
    image.PatientID = "another"
    image.save_as(file)
    with pytest.raises(SlideError, match="is not the slide that was scored"):
        checked_source(*given["dicom"], other)
