"""DICOM slides made for tests."""

from __future__ import annotations

from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage
from pydicom.valuerep import DS

from slides.runfile import Run


def convert(slide: Path, folder: Path) -> Path:
    """The DICOM folder that wsidicomizer makes of a slide; skips the test where it cannot run."""
    if find_library("turbojpeg") is None:
        pytest.skip("wsidicomizer needs libturbojpeg")
    from wsidicomizer import WsiDicomizer

    folder.mkdir(parents=True)
    with WsiDicomizer.open(slide) as opened:
        opened.save(folder)
    return folder


def header(run: Run, **changes: Any) -> Dataset:
    """A VL Whole Slide Microscopy image of a run's size and scale, without pixels.

    Args:
        changes: attributes in place of these; None to leave one out.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = VLWholeSlideMicroscopyImageStorage, UID("1.2.3.4")
    made.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2", "1.2.3", "1.2.5"
    made.PatientID, made.PatientName, made.PatientSex = "P-7", "Lovelace^Ada", "F"
    made.Modality, made.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.Rows = made.Columns = 64
    made.NumberOfFrames = 1
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = run.slide.width, run.slide.height
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.5, 40.25
    origin.ZOffsetInSlideCoordinateSystem = 0.0
    made.TotalPixelMatrixOriginSequence = [origin]
    measures = Dataset()
    measures.PixelSpacing = [DS(run.slide.microns_per_pixel / 1000, auto_format=True)] * 2
    measures.SliceThickness = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def saved(image: Dataset, folder: Path, name: str = "image.dcm") -> Path:
    """The folder, with this image in it."""
    folder.mkdir(exist_ok=True)
    image.save_as(folder / name, enforce_file_format=True)
    return folder
