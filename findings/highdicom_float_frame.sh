#!/usr/bin/env bash
# highdicom 0.28.1 with pydicom 3.0.2: reading one frame of a Parametric Map whose pixels are floating-point numbers.
#
# One expects a file that highdicom itself has written to be readable, frame by frame, by highdicom's own Image.
# imread() opens it, but get_frame(1) and get_stored_frame(1) raise AttributeError: 'Image' object has no attribute 'PixelRepresentation'.
# DICOM defines no Pixel Representation for Float Pixel Data and Double Float Pixel Data, so the file is right to lack it.
# The plural get_frames() works on the same object and returns the values, and so does pydicom's pixel_array.
# A map of unsigned integers made in the same way is read by get_frame(1) without trouble.
# It matters for heat maps and probability maps, where code that passes on integer maps breaks as soon as the map holds floats.
# Output seen: for float32 and float64 the two AttributeErrors and "get_frames and pydicom equal"; "uint16: get_frame equal".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.1 pydicom==3.0.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import highdicom
import numpy as np
import pydicom
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def source_image():
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, keyword, generate_uid())
    for keyword in ("PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"):
        setattr(image, keyword, "")
    image.PatientID, image.PatientName, image.PatientSex = "1", "Test^Case", "O"
    image.StudyID, image.StudyDate, image.StudyTime = "1", "20200101", "000000"
    image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, 1
    image.Rows, image.Columns, image.PixelSpacing, image.SliceThickness = 8, 8, [1, 1], 1
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    return image


def save_map(pixels, path):
    is_float = pixels.dtype.kind == "f"
    mapping = RealWorldValueMapping(
        lut_label="1",
        lut_explanation="identity",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0) if is_float else (0, 255),
        intercept=0,
        slope=1,
    )
    ParametricMap(
        [source_image()],
        pixels[np.newaxis],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=0.5,
        window_width=1,
    ).save_as(path)


for dtype in ("float32", "float64"):
    pixels = (np.arange(64).reshape(8, 8) / 64).astype(dtype)
    save_map(pixels, f"{dtype}.dcm")
    image = highdicom.imread(f"{dtype}.dcm")
    for method in ("get_frame", "get_stored_frame"):
        try:
            getattr(image, method)(1)
        except AttributeError as error:
            print(f"{dtype}: {method}: AttributeError: {error}")
            assert "PixelRepresentation" in str(error)
        else:
            raise SystemExit(f"{method} reads {dtype} now: highdicom's behaviour has changed")
    assert np.array_equal(image.get_frames()[0], pixels)
    assert np.array_equal(pydicom.dcmread(f"{dtype}.dcm").pixel_array, pixels)
    print(f"{dtype}: get_frames and pydicom equal")

pixels = np.arange(64).reshape(8, 8).astype(np.uint16)
save_map(pixels, "uint16.dcm")
assert np.array_equal(highdicom.imread("uint16.dcm").get_frame(1), pixels)
print("uint16: get_frame equal")
PYTHON
