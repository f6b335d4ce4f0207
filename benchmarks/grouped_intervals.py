"""How often intervals of a share hold the true one where the answers of a slide are alike.

    python -m benchmarks.grouped_intervals

Each made site has slides whose own sensitivity is drawn from a beta distribution with mean 0.90 and an intraclass
correlation of 0.1.
"""

from __future__ import annotations

import numpy as np

from model_zoo.grouped import Resampled, widest
from model_zoo.intervals import wilson

SITES = 400
MEAN, ALIKE = 0.90, 0.1


def covered(slides: int, answers: int) -> tuple[float, float]:
    """The share of sites whose interval holds the mean: Wilson's, and the wider of it and the bootstrap over slides."""
    rng = np.random.default_rng(1)
    groups = [str(slide) for slide in range(slides) for _ in range(answers)]
    everything = np.ones(len(groups), np.bool_)
    weight = 1 / ALIKE - 1
    held = np.zeros(2)
    for _ in range(SITES):
        own = rng.beta(weight * MEAN, weight * (1 - MEAN), size=slides)
        hits = (rng.random((slides, answers)) < own[:, None]).ravel()
        count = int(hits.sum())
        intervals = wilson(count, len(hits)), widest(count, len(hits), Resampled(groups).ratios(hits, everything))
        held += [low is not None and high is not None and low <= MEAN <= high for low, high in intervals]
    alone, wider = (held / SITES).tolist()
    return alone, wider


def main() -> None:
    for slides, answers in ((10, 10), (20, 10), (40, 5)):
        alone, wider = covered(slides, answers)
        print(f"{slides} slides, {answers} answers each: Wilson {alone:.1%}, the wider of both {wider:.1%}")


if __name__ == "__main__":
    main()
