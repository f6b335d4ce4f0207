#!/usr/bin/env bash
# openslide-bin 4.0.1.2 (OpenSlide 4.0.1), openslide-python 1.4.7: a tiled TIFF whose Orientation (274) is not 1.
#
# TIFF 6.0 lets a file say that its first row is the bottom one, or its first column the right one. Readers other than
# baseline ones may ignore the tag, so one expects the stored pixels (tifffile and tiffslide), or the turned image (Pillow).
# OpenSlide does one of two things, by the compression: with JPEG it gives the stored pixels. With none and with Deflate it
# turns every tile in itself, and leaves the tiles in their places: the result is a mosaic that is neither of the images.
# The reason is that it decodes JPEG tiles by itself, and lets libtiff render the others as an image of one tile each.
# No property of the slide tells the orientation, and no error is raised.
# It matters for slides converted by general imaging tools: a tissue looks plausible within each tile, cut at the seams, and
# a copy in another compression gives other patches at the same place.
# Write the pixels upright with Orientation 1, or check the tag (with tifffile) before a slide is accepted.
# Output seen: "Orientation 4, none: OpenSlide each tile turned, tiffslide stored, Pillow turned", "Orientation 4, jpeg:
# OpenSlide stored, tiffslide stored, Pillow turned", and the same for 2 and 3, and for deflate as for none.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openslide-bin==4.0.1.2 openslide-python==1.4.7 tiffslide==3.0.1 \
    tifffile==2026.3.3 imagecodecs==2026.3.6 zarr==3.1.6 Pillow==13.0.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import openslide
import tifffile
import tiffslide
from PIL import Image

WIDTH, HEIGHT, TILE = 768, 512, 256
rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
stored = np.stack([columns // 3, rows // 2, (columns // 64 + rows // 64) * 12], axis=-1).astype(np.uint8)
turns = {2: np.fliplr, 3: lambda image: np.flipud(np.fliplr(image)), 4: np.flipud}


def looks_like(image, candidates):
    """The one candidate that the image equals, but for the loss of JPEG."""
    image = np.asarray(image)[..., :3].astype(int)
    names = [name for name, other in candidates.items() if np.abs(image - other).mean() < 2]
    assert len(names) == 1, f"looks like {names}"
    return names[0]


for orientation, turn in turns.items():
    tiles = stored.copy()
    for top in range(0, HEIGHT, TILE):
        for left in range(0, WIDTH, TILE):
            place = np.s_[top : top + TILE, left : left + TILE]
            tiles[place] = turn(stored[place])
    candidates = {"stored": stored, "turned": turn(stored), "each tile turned": tiles}
    for compression in (None, "deflate", "jpeg"):
        tag = (274, "H", 1, orientation, True)
        kind = {"tile": (TILE, TILE), "photometric": "rgb", "compression": compression}
        tifffile.imwrite("slide.tif", stored, extratags=[tag], **kind)
        with openslide.OpenSlide("slide.tif") as slide:
            first = looks_like(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)), candidates)
            assert slide.dimensions == (WIDTH, HEIGHT)
            assert not [name for name in slide.properties if "orientation" in name.lower()]
        with tiffslide.TiffSlide("slide.tif") as slide:
            second = looks_like(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)), candidates)
        with Image.open("slide.tif") as image:
            third = looks_like(image, candidates)
        assert looks_like(tifffile.imread("slide.tif"), candidates) == "stored"
        name = compression or "none"
        print(f"Orientation {orientation}, {name}: OpenSlide {first}, tiffslide {second}, Pillow {third}")
        assert first == ("stored" if compression == "jpeg" else "each tile turned"), "OpenSlide's behaviour has changed"
        assert (second, third) == ("stored", "turned"), "the behaviour of tiffslide or Pillow has changed"
PYTHON
