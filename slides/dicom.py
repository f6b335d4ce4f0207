"""DICOM slides (VL Whole Slide Microscopy): which file of a folder is opened, and what an incomplete file lacks."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slides.errors import SlideError

if TYPE_CHECKING:
    import openslide

SUFFIX = ".dcm"
MOST_FILES = 1000
_HEAD = 2**20  # bytes in which a file says how its tiles are organized
_PER_FRAME = b"\x00\x52\x30\x92"  # the tag (5200,9230), little-endian
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_REMEDY = "export the slide again as VL Whole Slide Microscopy with all required attributes"
_SAID = {
    "Couldn't get image flavor": "Image Type (0008,0008)",
    "Couldn't read level dimensions": "Total Pixel Matrix Columns and Rows (0048,0006) and (0048,0007)",
    "SeriesInstanceUID not found": "Series Instance UID (0020,000E)",
}
_TAG = re.compile(r"data element '([0-9a-fA-F]{4})([0-9a-fA-F]{4})'")
_NAMES = {
    "0028,0002": "Samples per Pixel",
    "0028,0004": "Photometric Interpretation",
    "0028,0010": "Rows",
    "0028,0011": "Columns",
    "0028,0100": "Bits Allocated",
}


def file_of(path: Path) -> Path:
    """The file that is opened: a file itself; of a folder of DICOM files the largest, for they are one slide.

    Raises:
        SlideError: if a folder holds no DICOM file, or those of several slides.
    """
    if not path.is_dir():
        return path
    files = files_of(path)
    if not files:
        raise SlideError("the folder holds no DICOM file (*.dcm): name a slide's file, or a folder of DICOM files")
    check_sparse(files[0])
    largest = max(files, key=lambda file: (file.stat().st_size, file.name))
    series = {found for file in files if (found := _series(file)) is not None}
    if len(series) > 1:
        raise SlideError(
            f"the folder holds DICOM files of {len(series)} series: give each slide a folder of its own, or name a file"
        )
    return largest


def check_sparse(path: Path) -> None:
    """Refuse files that OpenSlide 4.0.1 crashes on: sparse tiles without their positions.

    Raises:
        SlideError: if the file, or one beside it, is such a file.
    """
    for file in files_of(path.parent):
        with file.open("rb") as stream:
            if b"TILED_SPARSE" not in stream.read(_HEAD):
                continue
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                if whole.find(_PER_FRAME) >= 0:
                    continue
        raise SlideError(
            f"{file.name} says that its tiles are sparse (TILED_SPARSE), but lacks the Per-Frame Functional Groups "
            f"Sequence (5200,9230), which says where they lie: {_REMEDY}"
        )


def check_image(path: Path, properties: Mapping[str, str]) -> None:
    """Refuse an open slide that has no tiles, or does not say how many: OpenSlide opens it all the same.

    Raises:
        SlideError: if it lacks the Pixel Data or the Number of Frames.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        if not any(whole.find(_PIXEL_DATA + form) >= 0 for form in (b"OB", b"OW")):
            raise SlideError(
                "the DICOM file lacks Pixel Data (7FE0,0010), or is cut off: copy it again from its source"
            )
    if not properties.get("dicom.NumberOfFrames"):
        raise SlideError(f"the DICOM file lacks Number of Frames (0028,0008): {_REMEDY}")


def refusal(error: openslide.OpenSlideError) -> str:
    """What a DICOM file lacks, in a sentence."""
    said = str(error)
    if "No pyramid levels found" in said:
        return (
            "the DICOM files hold no image of the slide (Image Type VOLUME), only labels, overviews or thumbnails: "
            "put all files of the slide into one folder"
        )
    lacking = next((name for words, name in _SAID.items() if words in said), None)
    if lacking is None and (found := _TAG.search(said)):
        tag = ",".join(found.groups())
        lacking = f"{_NAMES.get(tag, 'the attribute')} ({tag})"
    if lacking is None:
        return f"the DICOM file is damaged or cut off ({said}): copy it again from where it came"
    return f"the DICOM file lacks {lacking}: {_REMEDY}"


def files_of(folder: Path) -> list[Path]:
    """The DICOM files of a folder, by name.

    Raises:
        SlideError: if there are more than a thousand.
    """
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() == SUFFIX and file.is_file())
    if len(found) > MOST_FILES:
        raise SlideError(
            f"the folder holds {len(found)} DICOM files, expected at most {MOST_FILES}: give each slide its own folder"
        )
    return found


def _series(file: Path) -> str | None:
    import openslide

    try:
        with openslide.OpenSlide(file) as slide:
            return slide.properties.get("dicom.SeriesInstanceUID")
    except openslide.OpenSlideError:
        return None
