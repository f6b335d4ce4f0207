#!/usr/bin/env bash
# highdicom 0.28.2 with pydicom 3.0.2: a Structured Report with a polygon of more than 5,461 points.
#
# One expects a report that highdicom has written without an error to be readable, by highdicom at least.
# Explicit VRs state the length of FL in 16 bits, so 12 bytes for each of 5,462 points do not fit.
# pydicom then writes Graphic Data (0070,0022) with the VR UN, as PS3.5, 6.2.2, permits, and warns that it did so "to allow saving the data".
# Reading the file again, pydicom leaves UN as bytes, although the tag is in its dictionary.
# highdicom's srread() opens the report, but the polygon's value raises ValueError: cannot reshape array of size 1 into shape (3).
# DCMTK 3.6.7 (dsrdump) refuses such a report altogether: "GraphicData (0070,0022) absent in SCOORD3D content item (type 1)".
# With ImplicitVRLittleEndian the same report is read by both.
# It matters for outlines of tissue and tumour on whole slides, which have thousands of vertices; short test outlines never show it.
# Output seen: "5461 points, explicit: VR FL, read back"; "5462 points, explicit: VR UN, ValueError"; "5462 points, implicit: VR FL, read back".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid


def slide():
    image = Dataset()
    image.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, keyword, generate_uid())
    for keyword in ("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime"):
        setattr(image, keyword, "")
    image.AccessionNumber, image.Modality, image.Rows, image.Columns = "", "SM", 256, 256
    return image


def written(points, syntax):
    """A report whose only region is a circle of so many points, closed by its first."""
    angles = np.linspace(0, 2 * np.pi, points)
    outline = np.stack([20 + 5 * np.cos(angles), 10 + 5 * np.sin(angles), np.zeros(points)], axis=1)
    outline[-1] = outline[0]
    image = slide()
    region = hd.sr.ImageRegion3D("POLYGON", outline, frame_of_reference_uid=image.FrameOfReferenceUID)
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="Region 1"), referenced_region=region
    )
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=generate_uid())
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=[group],
    )
    hd.sr.Comprehensive3DSR(
        [image],
        report[0],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Test",
        transfer_syntax_uid=syntax,
    ).save_as("report.dcm")
    return outline


def vr_of(dataset):
    """The VR of Graphic Data, as pydicom reads it."""
    return next(each.VR for each in dataset.iterall() if each.keyword == "GraphicData")


def read_back():
    [group] = hd.sr.srread("report.dcm").content.get_planar_roi_measurement_groups()
    return group.roi.value


for points, syntax, name in (
    (5461, ExplicitVRLittleEndian, "explicit"),
    (5462, ImplicitVRLittleEndian, "implicit"),
):
    outline = written(points, syntax)
    vr = vr_of(dcmread("report.dcm"))
    assert vr == "FL", vr
    assert np.allclose(read_back(), outline, atol=1e-5)
    print(f"{points} points, {name}: VR {vr}, read back")

written(5462, ExplicitVRLittleEndian)
vr = vr_of(dcmread("report.dcm"))
try:
    read_back()
except ValueError as error:
    assert vr == "UN", vr
    assert "cannot reshape array of size 1" in str(error), error
    print(f"5462 points, explicit: VR {vr}, ValueError: {error}")
else:
    raise SystemExit("highdicom reads long polygons in explicit VRs now: its behaviour has changed")
PYTHON
