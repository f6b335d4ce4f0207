#!/usr/bin/env bash
# e2cnn 0.2.3 with torch 2.13.0: how many free weights a 3x3 convolution from the trivial to the regular field of C4 has.
#
# One expects 9: a group convolution over rotations by 90 degrees learns a free 3x3 kernel and rotates its pixels exactly.
# R2Conv has 6 weights: it samples circular harmonics on rings, and its default cutoff drops the high frequencies.
# The kernels it can express form a space of 6 dimensions, so three of the nine directions can never be learned.
# A 5x5 kernel has 11 weights for 25 pixels, and a 7x7 kernel 18 for 49.
# Raising frequencies_cutoff to 10 reaches all 9 dimensions, but then the layer holds 20 weights, which are redundant.
# It matters when an e2cnn network is compared with a group convolution of the same shape: they are different model classes.
# It matters too when trained weights are converted: any expanded kernel fits a group convolution, but not the other way round.
# Output seen: "3x3: 6 weights, rank 6", "5x5: 11 weights, rank 11", "7x7: 18 weights, rank 18", "3x3, cutoff 10: 20 weights, rank 9".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 e2cnn==0.2.3

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from e2cnn import gspaces, nn

space = gspaces.Rot2dOnR2(N=4)
trivial = nn.FieldType(space, [space.trivial_repr])
regular = nn.FieldType(space, [space.regular_repr])


def weights_and_rank(size, **options):
    layer = nn.R2Conv(trivial, regular, size, padding=size // 2, bias=False, **options)
    count = layer.weights.numel()
    kernels = []
    for direction in torch.eye(count):
        layer.weights.data.copy_(direction)
        kernel, _ = layer.expand_parameters()
        # The other three kernels are this one rotated, so the first tells the whole space.
        kernels.append(kernel.detach()[0, 0].reshape(-1))
    return count, int(torch.linalg.matrix_rank(torch.stack(kernels).double(), tol=1e-5))


cases = [
    ("3x3", 3, {}, (6, 6)),
    ("5x5", 5, {}, (11, 11)),
    ("7x7", 7, {}, (18, 18)),
    ("3x3, cutoff 10", 3, {"frequencies_cutoff": 10.0}, (20, 9)),
]
for name, size, options, expected in cases:
    seen = weights_and_rank(size, **options)
    print(f"{name}: {seen[0]} weights, rank {seen[1]}")
    assert seen == expected, f"{name}: expected {expected}, saw {seen}: e2cnn's behaviour has changed"
PYTHON
