#!/usr/bin/env bash
# torchmetrics 1.9.0 with torch 2.13.0: binary metrics that are given logits, in batches of different sizes.
#
# The area under the ROC curve depends on the order of the scores alone, so one expects the same value in batches of 512
# and one by one. It is not the same: each update() looks whether one of its values lies outside [0, 1]. If so it takes
# them all for logits and applies the sigmoid, else it keeps them as probabilities.
# A batch whose logits happen to lie between 0 and 1 is kept, and is then ranked among probabilities: a logit of 0.3
# (probability 0.57) counts as 0.3. At batch size 1 that is every value between 0 and 1.
# On 512 made-up patches the AUC falls from 0.859 to 0.814 and the accuracy from 0.785 to 0.752, without a warning.
# It matters where patches are scored one by one, and for a short last batch of an epoch.
# Apply the sigmoid before update().
# Output seen: "in one batch: AUC 0.859, accuracy 0.785", "one by one: AUC 0.814, accuracy 0.752",
# "one by one, sigmoid applied before: AUC 0.859, accuracy 0.785".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

chance = torch.Generator().manual_seed(0)
labels = torch.randint(0, 2, (512,), generator=chance)
logits = torch.randn(512, generator=chance) + (labels * 2 - 1) * 0.8


def measured(scores, size):
    metrics = BinaryAUROC(), BinaryAccuracy()
    for start in range(0, len(scores), size):
        for metric in metrics:
            metric.update(scores[start : start + size], labels[start : start + size])
    return tuple(round(float(metric.compute()), 3) for metric in metrics)


cases = [
    ("in one batch", logits, 512, (0.859, 0.785)),
    ("one by one", logits, 1, (0.814, 0.752)),
    ("one by one, sigmoid applied before", logits.sigmoid(), 1, (0.859, 0.785)),
]
for name, scores, size, expected in cases:
    seen = measured(scores, size)
    print(f"{name}: AUC {seen[0]}, accuracy {seen[1]}")
    assert seen == expected, f"{name}: expected {expected}, saw {seen}: torchmetrics' behaviour has changed"
PYTHON
