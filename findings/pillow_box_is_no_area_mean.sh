#!/usr/bin/env bash
# Pillow 13.0.0: what Image.resize with the BOX filter computes when the reduction factor is not a whole number.
#
# One expects the mean over the area that a target pixel covers, as OpenCV's INTER_AREA gives: a source pixel that is covered
# by a third counts a third. That is how a slide is brought from its scan scale to a model's microns per pixel.
# Pillow takes a source pixel whole if its centre lies in the covered interval, and not at all otherwise.
# For a factor of 1.944 (0.499 to 0.97 um/px) some target pixels are the mean of one source pixel a side, others of two.
# On an image of black and white columns the two means differ by 65 of 255 levels; for a factor of 2 they are equal.
# The result also depends on where the image begins: the same tissue, read as a block that begins elsewhere, gives other pixels.
# It matters for tiles of slides: labels of a classifier on such tiles flip with the filter and with the block's origin.
# Output seen: "factor 2: largest difference 0", "factor 1.944: largest difference 65", "weights seen: [0, 0.5, 1]".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import numpy as np
from PIL import Image


def area_mean(row, target):
    factor = len(row) / target
    means = []
    for x in range(target):
        left, right = x * factor, (x + 1) * factor
        cells = range(int(left), min(len(row), math.ceil(right)))
        means.append(sum(row[c] * (min(right, c + 1) - max(left, c)) for c in cells) / factor)
    return np.array(means)


def boxed(row, target):
    image = Image.fromarray(np.repeat(row[None], 4, axis=0).astype(np.float32))
    return np.asarray(image.resize((target, 4), Image.Resampling.BOX))[0]


stripes = np.where(np.arange(1944) % 4 < 2, 0.0, 255.0)
for name, row, target, low, high in (("2", stripes, 972, 0, 0.01), ("1.944", stripes, 1000, 60, 128)):
    largest = np.abs(boxed(row, target) - area_mean(row, target)).max()
    print(f"factor {name}: largest difference {largest:.0f}")
    assert low <= largest <= high, "the BOX filter's behaviour has changed"

weights = set()
for source in range(40):
    row = np.zeros(1944)
    row[source] = 1.0
    weights |= set(np.round(boxed(row, 1000)[:40], 3).tolist())
print("weights seen:", sorted(weights))
assert weights <= {0.0, 0.333, 0.5, 1.0}, "source pixels are now weighted by the covered area"
PYTHON
