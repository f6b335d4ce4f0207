#!/usr/bin/env bash
# albumentations 2.0.8: HEStain with a scale of exactly 1 and a shift of exactly 0.
#
# One expects the neutral setting to leave the image as it is, up to rounding, and small ranges to give small changes.
# HEStain describes each pixel by two stains, haematoxylin and eosin, and puts it together again from these alone: what
# two stains cannot express is lost. With the preset "ruifrok", neutral grey (128, 128, 128) becomes (123, 114, 189), a red
# blood cell (200, 70, 80) becomes (187, 57, 161), and with "macenko" grey becomes (135, 109, 157).
# It matters for training on tissue: red blood cells, pigment and ink become violet in every augmented patch, at any
# strength, while the network later sees them as they are.
# Output seen: "ruifrok grey (128, 128, 128) -> (123, 114, 189)", and a line for each other preset and colour.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet albumentations==2.0.8 numpy==2.4.6 scipy==1.17.1

cd "$folder"
NO_ALBUMENTATIONS_UPDATE=1 "$folder/venv/bin/python" - <<'PYTHON'
import albumentations
import numpy as np

colours = {"nucleus": (90, 50, 130), "eosin pink": (235, 170, 200), "red blood cell": (200, 70, 80), "grey": (128, 128, 128)}
image = np.concatenate([np.full((8, 8, 3), colour, np.uint8) for colour in colours.values()])
largest = {}
for preset in ("ruifrok", "macenko"):
    neutral = albumentations.HEStain(
        method="preset",
        preset=preset,
        intensity_scale_range=(1, 1),
        intensity_shift_range=(0, 0),
        augment_background=True,
        p=1,
    )
    changed = neutral(image=image)["image"]
    for row, (name, colour) in enumerate(colours.items()):
        after = changed[8 * row, 0].astype(int)
        print(f"{preset} {name} {colour} -> {tuple(map(int, after))}")
        largest[preset, name] = int(abs(after - np.array(colour)).max())

expected = {("ruifrok", "grey"): 61, ("ruifrok", "red blood cell"): 81, ("macenko", "grey"): 29}
for case, levels in expected.items():
    assert abs(largest[case] - levels) <= 2, f"{case}: expected about {levels}, saw {largest[case]}: HEStain has changed"
PYTHON
