#!/usr/bin/env bash
# openslide-bin 4.0.1.2 (OpenSlide 4.0.1), openslide-python 1.4.7, Pillow 13.0.0: tiled TIFFs in big-endian byte order.
#
# tifffile writes one image as a tiled TIFF in both byte orders, each as classic TIFF and as BigTIFF, and reads all four.
# One expects a reader to support big-endian files or not. Each of the two supports a different half:
# OpenSlide does not recognize the big-endian classic TIFF (detect_format gives None, OpenSlide() says "Unsupported or
# missing image file"), but opens the big-endian BigTIFF with the right pixels. Pillow opens the big-endian classic TIFF,
# and cannot identify the big-endian BigTIFF.
# openslide.open_slide() does not fail: it falls back to Pillow and returns an ImageSlide, which has one level, no properties
# and decodes the whole image, while the little-endian twin is an OpenSlide with the vendor "generic-tiff" and its scale.
# It matters for slides of old microscope software: an integrator sees a slide without scale instead of an error.
# Output seen: "classic big-endian: OpenSlide None, open_slide ImageSlide with 0 properties, Pillow TIFF", and a line for each
# other file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openslide-bin==4.0.1.2 openslide-python==1.4.7 tifffile==2026.3.3 Pillow==13.0.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import openslide
import tifffile
from PIL import Image, UnidentifiedImageError

pixels = np.full((600, 500, 3), 200, np.uint8)
pixels[100:200, 50:90] = (10, 90, 30)


def opened(path):
    try:
        return openslide.open_slide(path)
    except openslide.OpenSlideError:
        return None
    except UnidentifiedImageError:
        return None


def pillow(path):
    try:
        with Image.open(path) as image:
            return image.format if np.array_equal(np.asarray(image), pixels) else "wrong pixels"
    except UnidentifiedImageError:
        return None


expected = {
    ("classic", "little-endian"): ("generic-tiff", "OpenSlide", "TIFF"),
    ("classic", "big-endian"): (None, "ImageSlide", "TIFF"),
    ("BigTIFF", "little-endian"): ("generic-tiff", "OpenSlide", "TIFF"),
    ("BigTIFF", "big-endian"): ("generic-tiff", "OpenSlide", None),
}
for (kind, order), (vendor, reader, found) in expected.items():
    path = f"{kind}-{order}.tif"
    scale = {"resolution": (10000, 10000), "resolutionunit": "CENTIMETER"}
    byteorder = "<" if order == "little-endian" else ">"
    tifffile.imwrite(path, pixels, byteorder=byteorder, bigtiff=kind == "BigTIFF", tile=(256, 256), **scale)
    assert np.array_equal(tifffile.imread(path), pixels)
    slide = opened(path)
    name, properties = type(slide).__name__, len(slide.properties)
    seen = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    assert np.array_equal(seen, pixels)
    detected, image = openslide.OpenSlide.detect_format(path), pillow(path)
    print(f"{kind} {order}: OpenSlide {detected}, open_slide {name} with {properties} properties, Pillow {image}")
    assert (detected, name, image) == (vendor, reader, found), f"the answer for {kind} {order} has changed"
    assert (properties == 0) == (name == "ImageSlide")
PYTHON
