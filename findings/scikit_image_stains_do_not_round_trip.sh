#!/usr/bin/env bash
# scikit-image 0.26.0: rgb2hed followed by hed2rgb.
#
# Separation into haematoxylin, eosin and DAB multiplies optical densities by an invertible 3x3 matrix, so one expects
# hed2rgb(rgb2hed(image)) to be the image again, up to rounding. It is not: separate_stains sets negative amounts of a
# stain to 0, so every colour outside the cone of the three stains is moved onto its border.
# Pink stroma changes by 3 of 255 levels, a red blood cell by 38, neutral grey by 27, green ink by 103; only the colour
# of a nucleus comes back.
# Of uniformly random colours, 85 % change by more than 5 levels.
# It matters for stain augmentation "in HED space": with strength 0 it is no identity, and training patches get colours
# that patches of the same slide never have when the network is used. Convert with an inverse of one's own, or add the
# difference of the two conversions to the image.
# Output seen: "eosin pink (235, 170, 200) -> (232, 168, 199)", "red blood cell (200, 70, 80) -> (162, 56, 73)", and so on.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from skimage.color import hed2rgb, rgb2hed


def there_and_back(pixels):
    return np.rint(hed2rgb(rgb2hed(pixels)) * 255).astype(int)


cases = [
    ("nucleus", (90, 50, 130), 0),
    ("eosin pink", (235, 170, 200), 3),
    ("red blood cell", (200, 70, 80), 38),
    ("grey", (128, 128, 128), 27),
    ("green ink", (60, 140, 80), 103),
]
for name, colour, expected in cases:
    back = there_and_back(np.array([[colour]], np.uint8))[0, 0]
    print(f"{name} {colour} -> {tuple(map(int, back))}")
    moved = int(abs(back - np.array(colour)).max())
    assert moved == expected, f"{name}: expected a change of {expected}, saw {moved}: scikit-image's behaviour has changed"

colours = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
share = float((abs(there_and_back(colours) - colours).max(axis=-1) > 5).mean())
print(f"random colours that change by more than 5 levels: {share:.0%}")
assert 0.8 < share < 0.9, "scikit-image's behaviour has changed"
PYTHON
