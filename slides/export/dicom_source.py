"""The DICOM image of a scored slide, to whose patient, study and slide coordinates the exported objects belong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from slides.dicom import files_of
from slides.errors import SlideError
from slides.runfile import Run

SAME_SCALE = 0.01
_NEEDED = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"),
    *("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide"),
    "SharedFunctionalGroupsSequence",
)
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_REMEDY = "export the slide again as VL Whole Slide Microscopy with all required attributes"


@dataclass(frozen=True, eq=False)
class Source:
    """The image of level 0.

    Attributes:
        dataset: its attributes without pixels; attributes of type 2 that the file lacks are empty.
        origin: float64 [3], the centre of the total pixel matrix's first pixel, in mm of the slide's coordinates.
        cosines: float64 [2, 3], the directions of its rows and of its columns.
        spacing: mm from a pixel to its neighbour on the right, and to that below.
    """

    dataset: Dataset
    origin: NDArray[np.float64]
    cosines: NDArray[np.float64]
    spacing: tuple[float, float]

    def millimetres(self, points: ArrayLike) -> NDArray[np.float64]:
        """Slide coordinates, float64 [n, 3], of level-0 positions, [n, 2].

        Args:
            points: x and y in pixels from the matrix's upper left corner, so that the first pixel's centre is at 0.5.
        """
        moved = (np.asarray(points, np.float64) - 0.5) * self.spacing
        result: NDArray[np.float64] = self.origin + moved @ self.cosines
        return result


def read_source(path: Path, run: Run) -> Source:
    """Read the image of level 0.

    Args:
        path: the DICOM folder of the slide, or one of its files.
        run: whose size and scale it must have.

    Raises:
        SlideError: if there is none, it lacks what is needed, or has another size or scale.
    """
    found = _largest(path)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in found:
            setattr(found, keyword, "")
    try:
        source = _located(found)
        size = int(found.TotalPixelMatrixColumns), int(found.TotalPixelMatrixRows)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise SlideError(f"the DICOM slide does not say where its pixels lie ({error}): {_REMEDY}") from error
    _check_same(run, size, source.spacing)
    return source


def _check_same(run: Run, size: tuple[int, int], spacing: tuple[float, float]) -> None:
    slide = run.slide
    if size != (slide.width, slide.height):
        raise SlideError(
            f"the DICOM slide has {size[0]} × {size[1]} pixels, the scored one {slide.width} × {slide.height}: "
            "name the folder of the DICOM slide that was made from it, uncropped"
        )
    if any(abs(1000 * each - slide.microns_per_pixel) > SAME_SCALE * slide.microns_per_pixel for each in spacing):
        raise SlideError(
            f"the DICOM slide states {1000 * spacing[0]:.4g} microns per pixel, the run {slide.microns_per_pixel:.4g}: "
            "correct Pixel Spacing (0028,0030) in the DICOM files, or score the slide at their scale"
        )


def _located(found: Dataset) -> Source:
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    down, across = _numbers(measures.PixelSpacing, 2)
    first = found.TotalPixelMatrixOriginSequence[0]
    offsets = [first.XOffsetInSlideCoordinateSystem, first.YOffsetInSlideCoordinateSystem]
    origin = _numbers([*offsets, first.get("ZOffsetInSlideCoordinateSystem", 0.0)], 3)
    cosines = _numbers(found.ImageOrientationSlide, 6).reshape(2, 3)
    if not np.allclose(cosines @ cosines.T, np.eye(2), rtol=0, atol=1e-3):
        raise ValueError("Image Orientation (Slide) is not two perpendicular directions of length 1")
    return Source(found, origin, cosines, (float(across), float(down)))


def _numbers(values: Any, count: int) -> NDArray[np.float64]:
    numbers = np.array([float(value) for value in values])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"expected {count} finite numbers, found {values}")
    return numbers


def _largest(path: Path) -> Dataset:
    images = list(_images(files_of(path if path.is_dir() else path.parent)))
    if not images:
        raise SlideError(
            f"{path} holds no VL Whole Slide Microscopy image of the slide: name the folder of its DICOM files"
        )
    for keyword in _NEEDED:
        if any(not found.get(keyword) for found in images):
            tag = tag_for_keyword(keyword)
            assert tag is not None
            raise SlideError(f"the DICOM slide lacks {dictionary_description(tag)} {Tag(tag)}: {_REMEDY}")
    if len(series := {found.SeriesInstanceUID for found in images}) > 1:
        raise SlideError(f"{path} holds images of {len(series)} series: give each slide a folder of its own")
    return max(images, key=lambda found: found.TotalPixelMatrixColumns * found.TotalPixelMatrixRows)


def _images(files: list[Path]) -> Iterator[Dataset]:
    """The images of the slide at any resolution, without pixels; labels and overviews are left out."""
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"):
                found = dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        kind = list(found.get("ImageType") or ())
        if found.get("SOPClassUID") == VLWholeSlideMicroscopyImageStorage and kind[2:3] == ["VOLUME"]:
            yield found
