"""A DICOM slide gives the cells of the SVS that it was made from; one that says too little is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from model_zoo.manifest import Manifest
from model_zoo.network import Network
from slides.errors import SlideError
from slides.opened import open_slide
from slides.reader import Reader
from tests.conftest import ROOT
from tests.installed import rosette
from tests.slides.dicom_made import convert
from tests.slides.test_resume import scored_and_touched

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
OPTIONS = ("--rotations", "none", "--shifts", "none", "--processes", "1")
FAST = ROOT / "benchmarks" / "artifacts" / "fast-0.3.1.int8.onnx"


@pytest.fixture(scope="module")
def svs(shared: Path) -> Path:
    return shared / "slides" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def folder(svs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slide as DICOM files: the image, a label, an overview and a thumbnail."""
    return convert(svs, tmp_path_factory.mktemp("dicom") / "slide")


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Network(FAST.read_bytes()).manifest


def test_svs_and_dicom_give_the_same_cells(svs: Path, folder: Path, tmp_path: Path) -> None:
    assert len(list(folder.iterdir())) == 4
    rosette("slide", "score", svs, "--out", tmp_path / "svs", "--model", FAST, *OPTIONS)
    rosette("slide", "score", folder, "--out", tmp_path / "dicom", "--model", FAST, *OPTIONS)
    one, other = (next((tmp_path / name).iterdir()) for name in ("svs", "dicom"))
    assert (one / "cells.csv").read_bytes() == (other / "cells.csv").read_bytes()
    features = [json.loads((run / "regions.geojson").read_bytes())["features"] for run in (one, other)]
    ids = [{feature.pop("id") for feature in found} for found in features]
    assert not ids[0] & ids[1], "a region's id tells its slide's file, too"
    assert features[0] == features[1] != []
    said = rosette("slide", "verify", other, "--cells", "20", "--model", FAST, "--slide", folder)
    assert "20 cells checked, 0 differences" in said


def test_a_slide_of_which_another_file_was_changed_meanwhile_is_refused(folder: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "slide", tmp_path / "out"
    shutil.copytree(folder, copy)
    smallest = min(copy.iterdir(), key=lambda path: path.stat().st_size)
    said = scored_and_touched(copy, out, smallest, "--model", str(FAST), *OPTIONS)
    assert "was changed while it was scored" in said


def without(name: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, name)


def without_spacing(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def label_only(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]


def sparse(dataset: Dataset) -> None:
    dataset.DimensionOrganizationType = "TILED_SPARSE"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_spacing, r"does not state its microns per pixel \(Pixel Spacing, \(0028,0030\)"),
        (without("Rows"), r"lacks Rows \(0028,0010\): export the slide again"),
        (without("ImageType"), r"lacks Image Type \(0008,0008\)"),
        (without("TotalPixelMatrixColumns"), r"lacks Total Pixel Matrix Columns"),
        (without("SeriesInstanceUID"), r"lacks Series Instance UID \(0020,000E\)"),
        (without("NumberOfFrames"), r"lacks Number of Frames \(0028,0008\)"),
        (sparse, r"lacks the Per-Frame Functional Groups Sequence \(5200,9230\)"),
        (label_only, r"hold no image of the slide \(Image Type VOLUME\)"),
    ],
)
def test_a_file_that_says_too_little_is_refused_with_what_is_missing(
    image: Path, manifest: Manifest, change: Callable[[Dataset], None], words: str, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(image)
    change(dataset)
    dataset.save_as(tmp_path / "slide.dcm")
    with pytest.raises(SlideError, match=words):
        open_slide(tmp_path, manifest, None)


def test_a_truncated_file_is_refused(image: Path, tmp_path: Path) -> None:
    whole = image.read_bytes()
    (tmp_path / "slide.dcm").write_bytes(whole[: whole.index(b"\xe0\x7f\x10\x00")])
    with pytest.raises(SlideError, match=r"lacks Pixel Data \(7FE0,0010\), or is cut off"):
        Reader(tmp_path / "slide.dcm")


def test_folders_hold_one_slide(image: Path, tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="holds no DICOM file"):
        Reader(tmp_path)
    shutil.copy(image, tmp_path / "a.dcm")
    dataset = pydicom.dcmread(image)
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(SlideError, match="DICOM files of 2 series"):
        Reader(tmp_path)
    with Reader(tmp_path / "a.dcm") as reader:
        assert reader.path == tmp_path / "a.dcm"
