#!/usr/bin/env bash
# MAPIE 1.6.0: the number of bins of its expected calibration error, and the strategy "array split".
#
# One expects num_bins=10 to cut [0, 1] into ten bins, as in scikit-learn's calibration_curve(n_bins=10), and the error
# not to depend on the order of the samples. Neither holds for expected_calibration_error, and its documentation is silent on it.
# "uniform" (the default) and "quantile" use num_bins edges, not num_bins + 1. So num_bins=10 makes nine bins, and one more
# that holds only the lowest edge. num_bins=2 makes a single bin, whose error is the difference of the two means: patches
# with 0.25 that are all negative and patches with 0.75 that are all positive are off by 0.25 each, yet the result is 0.
# "array split" cuts the scores into parts in the order in which they come, and takes the highest score of each part as
# an edge. After shuffling, those are all close to 1, so nearly all samples share a bin, and the error nearly vanishes.
# It matters for reports: values do not compare with those of other packages, and a shuffled test set looks calibrated.
# Sort scores and labels by the score before "array split", and pass the number of bins plus one for "uniform".
# Output seen: "two groups: 2 bins 0.000, 3 bins 0.250, by hand with 2 bins 0.250", "uniform: 10 bins 0.099, 11 bins 0.118,
# by hand with 9 bins 0.099, with 10 bins 0.118", "array split, 10 bins: sorted 0.117, shuffled 0.004".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MAPIE==1.6.0 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from mapie.metrics.calibration import expected_calibration_error
from sklearn.calibration import calibration_curve


def by_hand(labels, scores, bins):
    """The error over so many bins of equal width; scikit-learn tells the mean of each bin."""
    mean_label, mean_score = calibration_curve(labels, scores, n_bins=bins)
    sizes = np.histogram(scores, np.linspace(0, 1, bins + 1))[0]
    return float(np.abs(mean_label - mean_score) @ sizes[sizes > 0] / len(scores))


def mapie(labels, scores, bins, strategy="uniform"):
    return float(expected_calibration_error(labels, scores, num_bins=bins, split_strategy=strategy))


scores, labels = np.repeat([0.25, 0.75], 100), np.repeat([0, 1], 100)
two, three, right = mapie(labels, scores, 2), mapie(labels, scores, 3), by_hand(labels, scores, 2)
print(f"two groups: 2 bins {two:.3f}, 3 bins {three:.3f}, by hand with 2 bins {right:.3f}")
assert right == three == 0.25
assert two == 0, "two bins are two bins now: MAPIE's behaviour has changed"

# Too timid: what the model calls 0.2 is positive in 10% of the cases, and what it calls 0.8 in 90%.
random = np.random.default_rng(0)
scores = random.uniform(0, 1, 2000)
labels = (random.uniform(0, 1, 2000) < np.where(scores < 0.5, scores / 2, (1 + scores) / 2)).astype(int)
seen = mapie(labels, scores, 10), mapie(labels, scores, 11), by_hand(labels, scores, 9), by_hand(labels, scores, 10)
text = "uniform: 10 bins {:.3f}, 11 bins {:.3f}, by hand with 9 bins {:.3f}, with 10 bins {:.3f}"
print(text.format(*seen))
assert abs(seen[1] - seen[3]) < 1e-9, "11 bins are not ten any more: MAPIE's behaviour has changed"
assert abs(seen[0] - seen[2]) < 1e-9, "10 bins are not nine any more: MAPIE's behaviour has changed"
assert abs(seen[0] - seen[3]) > 0.01

order = np.argsort(scores)
inorder, shuffled = mapie(labels[order], scores[order], 10, "array split"), mapie(labels, scores, 10, "array split")
print(f"array split, 10 bins: sorted {inorder:.3f}, shuffled {shuffled:.3f}")
assert inorder > 0.1
assert shuffled < 0.01, "the order matters less now: MAPIE's behaviour has changed"
PYTHON
