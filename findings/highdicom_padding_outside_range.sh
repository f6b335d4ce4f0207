#!/usr/bin/env bash
# highdicom 0.28.2 with pydicom 3.0.2: a float Parametric Map whose background is a stated padding value.
#
# DICOM's Float Pixel Padding Value (0028,0122) marks background, and is by purpose none of the values that mean something:
# for a map of probabilities, mapped from 0 to 1, minus one is a natural choice, and a valid one.
# One expects readers to let such pixels through, or to mask them, and to map the others.
# highdicom's get_frames() and get_total_pixel_matrix() apply the real world value mapping unless told not to,
# ignore the padding value, and raise ValueError: Array contains value outside the valid range. One pixel is enough to lose the image.
# NaN as padding, which the standard permits too, passes, because no comparison with it is true.
# It matters to whoever chooses a padding value: the finite one, which JSON and most viewers take more easily, is unreadable by default.
# Output seen: for both methods "NaN: read", "-1: ValueError: Array contains value outside the valid range.", "-1, untransformed: read".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import VLWholeSlideMicroscopyImageStorage, generate_uid


def slide():
    image = Dataset()
    image.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, keyword, generate_uid())
    for keyword in ("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime"):
        setattr(image, keyword, "")
    image.AccessionNumber, image.Modality, image.ImageType = "", "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.Rows = image.Columns = image.TotalPixelMatrixRows = image.TotalPixelMatrixColumns = 8
    image.NumberOfFrames, image.ImageOrientationSlide = 1, [0, -1, 0, -1, 0, 0]
    origin, measures, shared = Dataset(), Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 10
    image.TotalPixelMatrixOriginSequence = [origin]
    measures.PixelSpacing, measures.SliceThickness = [0.03, 0.03], 0.001
    shared.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    return image


def saved(pixels, padding):
    mapping = hd.pm.RealWorldValueMapping("P", "probability", codes.UCUM.NoUnits, (0.0, 1.0), slope=1, intercept=0)
    made = hd.pm.ParametricMap(
        [slide()],
        pixels,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1)],
        tile_pixel_array=True,
        tile_size=(8, 8),
    )
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = padding
    made.save_as("map.dcm")


for method in ("get_frames", "get_total_pixel_matrix"):
    for padding in (np.nan, -1.0):
        pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
        pixels[2, 3] = padding
        saved(pixels, padding)
        image = hd.imread("map.dcm")
        stored = np.squeeze(getattr(image, method)(apply_real_world_transform=False))
        assert np.array_equal(stored, pixels, equal_nan=True)
        if np.isnan(padding):
            assert np.allclose(np.squeeze(getattr(image, method)()), pixels, equal_nan=True)
            print(f"{method}: NaN: read")
            continue
        print(f"{method}: -1, untransformed: read")
        try:
            getattr(image, method)()
        except ValueError as error:
            assert "outside the valid range" in str(error), error
            print(f"{method}: -1: ValueError: {error}")
        else:
            raise SystemExit("highdicom lets padding values through now: its behaviour has changed")
PYTHON
