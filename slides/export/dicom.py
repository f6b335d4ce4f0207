"""A run as DICOM: the probabilities as a Parametric Map, the regions as a Comprehensive 3D SR."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_zoo.quality import tissue_statistics
from slides.cells import Cells
from slides.errors import SlideError
from slides.export.dicom_common import Objects
from slides.export.dicom_source import Source, read_source
from slides.export.measurement_report import measurement_report
from slides.export.parametric_map import parametric_map
from slides.identity import hash_of
from slides.opened import OpenSlide
from slides.patch import patch_of
from slides.raster import plan
from slides.reader import Reader
from slides.regions import Region, Rule
from slides.run import source_of
from slides.runfile import Run
from slides.scale import Scale
from slides.scope import sampled

MAP_FILE = "probability.dcm"
REPORT_FILE = "regions.dcm"
COMPARED = 16
SAME_DENSITY = 0.01  # of optical density: a JPEG of the same pixels differs by less


def dicom_files(source: Source, run: Run, cells: Cells, regions: Sequence[Region], rule: Rule) -> dict[str, bytes]:
    """The content of both files by name; equal for equal runs, rules and sources.

    Raises:
        SlideError: if attributes of the source break the standard.
    """
    objects = Objects(run, source)
    try:
        with warnings.catch_warnings(action="ignore"):
            return {
                MAP_FILE: objects.bytes_of(parametric_map(objects, cells)),
                REPORT_FILE: objects.bytes_of(measurement_report(objects, cells, regions, rule)),
            }
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise SlideError(f"attributes of the DICOM slide cannot be taken over ({error}): correct them there") from error


def checked_source(folder: Path, run: Run, cells: Cells, named: Path | None) -> Source:
    """The DICOM slide that was scored, or that was made from the scored one.

    Args:
        folder: of the run.
        named: folder of the DICOM slide; None for where the scored slide was.

    Raises:
        SlideError: if there is none, or it is another slide.
    """
    scored = run.slide.vendor == "dicom"
    if named is None and not scored:
        raise SlideError(
            f"{run.slide.name} is no DICOM slide, so there is no image that DICOM objects could refer to: make DICOM "
            "of it (with wsidicomizer, for example), store that, and name its folder with --source"
        )
    if named is not None and not named.exists():
        raise SlideError(f"{named} does not exist: name the DICOM slide's folder with --source")
    path = named or Path(str(source_of(folder).get("path", "")))
    if not path.exists() or path == Path():
        raise SlideError(f"the slide of {folder} is not where it was: name its DICOM folder with --source")
    source = read_source(path, run)
    with Reader(path) as reader:
        if scored and hash_of(reader.path, reader.vendor) != run.slide.sha256:
            raise SlideError(f"{path} is not the slide that was scored: name the folder of that one with --source")
        if not scored:
            _check_pixels(reader, run, cells, path)
    return source


def _check_pixels(reader: Reader, run: Run, cells: Cells, path: Path) -> None:
    """Compare the stain of cells: objects that refer to another slide would be about another patient."""
    scale = run.slide.microns_per_pixel
    how = plan(reader.levels, reader.bounds, scale, run.model.microns_per_pixel)
    opened = OpenSlide(reader, Scale(scale, "stated"), how)
    scored = sampled(cells)
    differences = []
    for row, column in scored[:: -(-len(scored) // COMPARED) or 1]:
        patch = patch_of(opened, column, row)
        density = None if patch is None else tissue_statistics(patch)[2]
        if density is not None:
            differences.append(np.abs(np.array(density) - cells.density[row, column]).max())
    if not differences or np.median(differences) > SAME_DENSITY:
        raise SlideError(
            f"the pixels of {path} are not those of {run.slide.name}: name the folder of the DICOM slide that was "
            "made from it"
        )
