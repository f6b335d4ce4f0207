#!/usr/bin/env bash
# tifffile 2026.3.3 and Pillow 13.0.0: the pixel size of an ImageJ TIFF that is calibrated in microns.
#
# An ImageJ file with 4 pixels per micron stores XResolution 4, ResolutionUnit NONE, and "unit=um" in its description.
# One expects tifffile, which parses the description, to answer 4 for get_resolution("MICROMETER"), or to refuse.
# It answers 4e-06 without a warning: it takes "no unit" as metre, and does not consult imagej_metadata, which says um.
# An OME TIFF with PhysicalSizeX 0.25 micron answers 1e-06: its tags hold 1 and NONE, and only the OME XML holds the size.
# Pillow gives no "dpi" for such a file but info["resolution"] (4.0, 4.0), a number without its unit.
# Pillow does the same for the units MILLIMETER and MICROMETER, which tifffile writes, so 4000 and 4 there mean the same size.
# A file in CENTIMETER is converted: info["dpi"] is 2.54 times the tag, and there is no info["resolution"].
# It matters for choosing the magnification of a patch: 0.25 micron per pixel silently becomes 250,000.
# Output seen: "ImageJ: tifffile 4e-06 pixels per micron; Pillow dpi None, resolution (4.0, 4.0)", and a line for each other case.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tifffile==2026.3.3 Pillow==13.0.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import numpy as np
import tifffile
from PIL import Image

pixels = np.zeros((32, 48), np.uint8)


def read(name, **options):
    path = f"{name}.tif"
    tifffile.imwrite(path, pixels, **options)
    with tifffile.TiffFile(path) as file:
        per_micron = file.pages.first.get_resolution("MICROMETER")[0]
        imagej = file.imagej_metadata
    with Image.open(path) as image:
        dpi, resolution = image.info.get("dpi"), image.info.get("resolution")
    print(f"{name}: tifffile {per_micron} pixels per micron; Pillow dpi {dpi}, resolution {resolution}")
    return per_micron, dpi, resolution, imagej


per_micron, dpi, resolution, imagej = read("ImageJ", imagej=True, resolution=(4, 4), metadata={"unit": "um"})
assert imagej["unit"] == "um"
assert math.isclose(per_micron, 4e-06), "tifffile's answer for an ImageJ file has changed"
assert dpi is None and resolution == (4.0, 4.0)

size = {f"PhysicalSize{axis}{suffix}": value for axis in "XY" for suffix, value in (("", 0.25), ("Unit", "µm"))}
per_micron, dpi, resolution, _ = read("OME", ome=True, metadata={"axes": "YX", **size})
assert math.isclose(per_micron, 1e-06), "tifffile's answer for an OME file has changed"
assert dpi is None and resolution == (1.0, 1.0)

for unit, value in (("MICROMETER", 4), ("MILLIMETER", 4000)):
    per_micron, dpi, resolution, _ = read(unit, resolution=(value, value), resolutionunit=unit)
    assert math.isclose(per_micron, 4)
    assert dpi is None and resolution == (value, value), f"Pillow's answer for {unit} has changed"

per_micron, dpi, resolution, _ = read("CENTIMETER", resolution=(40000, 40000), resolutionunit="CENTIMETER")
assert math.isclose(per_micron, 4)
assert math.isclose(dpi[0], 101600) and resolution is None
PYTHON
