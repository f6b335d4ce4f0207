"""The probabilities of a run as a DICOM Parametric Map in the slide's coordinates."""

from __future__ import annotations

from math import nan

import numpy as np
from highdicom import (
    CoordinateSystemNames,
    DimensionOrganizationTypeValues,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodeContentItem, CodedConcept
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from model_zoo.notice import NOTICE
from slides.cells import Cells, State
from slides.export.dicom_common import METASTASIS, NO_UNITS, PROBABILITY, Objects, own_scheme
from slides.runfile import Run

TILE = 256  # cells across and down in a frame, at most
SERIES_NUMBER = 9001


def parametric_map(objects: Objects, cells: Cells) -> ParametricMap:
    """One pixel for each cell: its calibrated probability as float32; NaN where the cell was not scored.

    Raises:
        ValueError: if attributes of the source break the standard.
    """
    run, source = objects.run, objects.source
    values = probabilities(cells)
    size = cell_size(run)
    across, down = (size * each for each in source.spacing)
    first = source.millimetres([[each + size / 2 for each in run.grid.origin]])[0]
    measures = source.dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    made = ParametricMap(
        [source.dataset],
        values,
        series_instance_uid=objects.uid("map series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=objects.uid("map"),
        instance_number=1,
        **objects.equipment,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping()],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1)],
        content_label="PROBABILITY",
        content_description="Probability of metastasis; research use only",
        series_description="Probability of metastasis, research use only",
        pixel_measures=PixelMeasuresSequence((down, across), float(measures.get("SliceThickness") or 0) or None),
        plane_orientation=PlaneOrientationSequence(CoordinateSystemNames.SLIDE, source.cosines.ravel().tolist()),
        plane_positions=[PlanePositionSequence(CoordinateSystemNames.SLIDE, first.tolist(), (1, 1))],
        tile_pixel_array=True,
        tile_size=(min(TILE, values.shape[0]), min(TILE, values.shape[1])),
        dimension_organization_type=DimensionOrganizationTypeValues.TILED_SPARSE,
        coding_schemes=[own_scheme()],
    )
    made.DerivationDescription = f"{run.model.name} {run.model.version}, SHA-256 {run.model.sha256}. {NOTICE}"
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = objects.uid("dimensions")
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = objects.uid("dimensions")
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = nan
    return made


def probabilities(cells: Cells) -> NDArray[np.float32]:
    """Float32 [rows, columns], NaN where a cell was not scored."""
    return np.where(cells.where(State.SCORED), cells.probability, nan).astype(np.float32)


def cell_size(run: Run) -> float:
    """The distance of neighbouring cells in level-0 pixels; their edges are this grid's, rounded to pixels."""
    return run.grid.stride * run.raster.microns_per_pixel / run.slide.microns_per_pixel


def _mapping() -> RealWorldValueMapping:
    mapping = RealWorldValueMapping(
        lut_label="PROBABILITY",
        lut_explanation="Calibrated probability of metastasis in the cell",
        unit=NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1,
        intercept=0,
        quantity_definition=PROBABILITY,
    )
    of = CodeContentItem(CodedConcept.from_code(codes.DCM.Finding), CodedConcept.from_code(METASTASIS))
    mapping.QuantityDefinitionSequence.append(of)
    return mapping
