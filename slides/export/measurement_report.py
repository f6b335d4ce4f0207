"""The regions of a run as a DICOM Comprehensive 3D SR: a Measurement Report (TID 1500) in the slide's coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues3D,
    ImageRegion3D,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from model_zoo.notice import NOTICE
from slides.cells import Cells, State
from slides.export.dicom_common import (
    MANUFACTURER,
    NO_UNITS,
    PROBABILITY,
    Objects,
    own_code,
    own_scheme,
    uid_of_uuid,
)
from slides.export.outline import Ring, single_ring
from slides.geojson import region_uuid
from slides.regions import Region, Rule

SERIES_NUMBER = 9002
MOST_EXPLICIT_POINTS = 0xFFFE // 12  # of a polygon: explicit VRs state a length of 16 bits for FL

_SUSPICIOUS = own_code("suspicious-region", "Region suspected of metastasis")
_CELLS = Code("{cells}", "UCUM", "cells")
_MEAN, _LARGEST = codes.SCT.Mean, codes.SCT.Maximum
_STATED = own_code("prevalence-stated", "At the stated prevalence")
_CALIBRATION = own_code("prevalence-calibration", "At the calibration's prevalence")
_PREVALENCE = own_code("prevalence", "Prevalence of metastasis among cells")
_TURNS = own_code("turn-deviation", "Deviation of the probability over turns")
_SHIFTS = own_code("shift-deviation", "Deviation of the probability over shifts")
_TURNS_MEASURED = own_code("turns-measured", "Cells with turns measured")
_TURNS_BEYOND = own_code("turns-beyond", "Cells beyond the turn limit")
_SHIFTS_MEASURED = own_code("shifts-measured", "Cells with shifts measured")
_SIZE = own_code("cells", "Cells of the region")
_INSIDE = own_code("not-judged-inside", "Cells not judged inside")
_BESIDE = own_code("not-judged-beside", "Cells not judged beside")
_REGIONS = own_code("regions", "Regions")
_STATES = {
    State.SCORED: own_code("cells-scored", "Cells scored"),
    State.NOT_ASSESSABLE: own_code("cells-not-assessable", "Cells not assessable"),
    State.HOLE: own_code("cells-unreadable", "Cells that could not be read"),
}
_SCOPE = own_code("scope", "Scope of the model")
_VERDICTS = {
    "in_scope": own_code("in-scope", "In scope: texture and stain as in training patches"),
    "out_of_scope": own_code("out-of-scope", "Out of scope: do not rely on the probabilities"),
    "unknown": own_code("scope-unknown", "Scope unknown"),
}


def measurement_report(objects: Objects, cells: Cells, regions: Sequence[Region], rule: Rule) -> Comprehensive3DSR:
    """One measurement group for the slide and one for each region, with its outline as a closed polygon.

    Raises:
        ValueError: if attributes of the source break the standard.
    """
    source, rule_text = objects.source, rule.model_dump_json()
    outlines = [single_ring(region.polygons) for region in regions]
    slide = _slide_group(objects, cells, len(regions), rule)
    groups = [_region_group(objects, region, ring, rule) for region, ring in zip(regions, outlines, strict=True)]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(objects)),
        procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=[slide, *groups],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[source.dataset],
    )
    report[0].ContentSequence.append(
        TextContentItem(codes.DCM.Comment, NOTICE, relationship_type=RelationshipTypeValues.CONTAINS)
    )
    long = any(len(ring) > MOST_EXPLICIT_POINTS for ring in outlines)
    made = Comprehensive3DSR(
        evidence=[source.dataset],
        content=report[0],
        series_instance_uid=objects.uid("report series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=objects.uid("report", rule_text),
        instance_number=1,
        **objects.equipment,
        is_complete=False,
        is_final=False,
        is_verified=False,
        series_description="Regions suspected of metastasis, research use only",
        transfer_syntax_uid=ImplicitVRLittleEndian if long else ExplicitVRLittleEndian,
        coding_schemes=[own_scheme()],
    )
    made.CompletionFlagDescription = "Found by a program; no person has reviewed it"
    made.ObservationDateTime = f"{objects.finished_at:%Y%m%d%H%M%S%z}"
    return made


def _device(objects: Objects) -> ObserverContext:
    model = objects.run.model
    return ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=objects.device_uid,
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=f"{model.name} {model.version}",
            serial_number=model.sha256,
        ),
    )


def _algorithm(objects: Objects) -> AlgorithmIdentification:
    model = objects.run.model
    parameters = [
        f"artifact SHA-256 {model.sha256}",
        f"temperature {model.temperature!r}",
        f"basis {objects.run.basis}",
    ]
    return AlgorithmIdentification(model.name, model.version, parameters)


def _slide_group(objects: Objects, cells: Cells, regions: int, rule: Rule) -> MeasurementsAndQualitativeEvaluations:
    run, image = objects.run, objects.source.dataset
    counts = [Measurement(code, int(cells.where(state).sum()), _CELLS) for state, code in _STATES.items()]
    verdict = _VERDICTS["unknown" if run.scope is None else run.scope.verdict]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(objects.uid("slide"), "Slide"),
        source_images=[SourceImageForMeasurementGroup.from_source_image(image)],
        algorithm_id=_algorithm(objects),
        measurements=[
            *counts,
            Measurement(_REGIONS, regions, Code("{regions}", "UCUM", "regions")),
            Measurement(_PREVALENCE, rule.prevalence, NO_UNITS, method=_STATED),
            Measurement(_PREVALENCE, run.model.calibration_prevalence, NO_UNITS, method=_CALIBRATION),
        ],
        qualitative_evaluations=[QualitativeEvaluation(_SCOPE, verdict)],
    )


def _region_group(
    objects: Objects, region: Region, ring: Ring, rule: Rule
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    source = objects.source
    outline = ImageRegion3D(
        GraphicTypeValues3D.POLYGON, source.millimetres(ring), frame_of_reference_uid=source.dataset.FrameOfReferenceUID
    )
    identity = uid_of_uuid(region_uuid(objects.run, region, rule))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identity, f"Region {region.number}"),
        referenced_region=outline,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=_SUSPICIOUS,
        algorithm_id=_algorithm(objects),
        measurements=list(_measurements(region)),
    )


def _measurements(region: Region) -> Iterator[Measurement]:
    yield Measurement(codes.SCT.Area, region.area_mm2, codes.UCUM.SquareMillimeter)
    for value, derivation, method in (
        (region.mean_moved, _MEAN, _STATED),
        (region.largest_moved, _LARGEST, _STATED),
        (region.mean, _MEAN, _CALIBRATION),
        (region.largest, _LARGEST, _CALIBRATION),
    ):
        yield Measurement(PROBABILITY, value, NO_UNITS, derivation=derivation, method=method)
    for name, deviation in ((_TURNS, region.turns), (_SHIFTS, region.shifts)):
        if deviation.largest is not None:
            yield Measurement(name, deviation.largest, NO_UNITS, derivation=_LARGEST)
    counts = {
        _SIZE: len(region.rows),
        _TURNS_MEASURED: region.turns.measured,
        _TURNS_BEYOND: region.turns.beyond,
        _SHIFTS_MEASURED: region.shifts.measured,
        _INSIDE: region.not_judged_inside,
        _BESIDE: region.not_judged_beside,
    }
    for name, count in counts.items():
        if count is not None:
            yield Measurement(name, count, _CELLS)
