"""Grouped observations, such as the patches of slides, and figures of whole groups that are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from model_zoo.intervals import wilson

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

RESAMPLES = 1000


class Resampled:
    """1000 draws of whole groups with replacement (bootstrap of clusters), always the same ones.

    Args:
        groups: of each observation, [N]; at least one.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        _, self._place = np.unique(np.array(groups), return_inverse=True)
        self._count = int(self._place.max()) + 1
        self._members = [np.flatnonzero(self._place == group) for group in range(self._count)]
        self._drawn = np.random.default_rng(0).integers(self._count, size=(RESAMPLES, self._count))
        times = [np.bincount(drawn, minlength=self._count) for drawn in self._drawn]
        self._times = np.array(times, np.float64)

    def ratios(self, above: Values | Flags, below: Values | Flags) -> Values:
        """The sum of ``above`` over that of ``below`` in each draw, [1000]; both [N]; NaN where ``below`` is 0."""
        top, bottom = (self._times @ np.bincount(self._place, each, self._count) for each in (above, below))
        found: Values = np.divide(top, bottom, out=np.full(RESAMPLES, np.nan), where=bottom > 0)
        return found

    def figure(self, figure: Callable[[Indices], float]) -> Values:
        """A figure of the observations with the drawn indices, in each draw, [1000]; NaN where it is not defined."""
        members = (np.concatenate([self._members[group] for group in drawn]) for drawn in self._drawn)
        return np.array([figure(chosen) for chosen in members])


def percentiles(resampled: Values) -> tuple[float, float] | None:
    """Bounds of 95 % of the defined values; None if there are none."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5]).tolist()
    return low, high


def widest(count: int, n: int, resampled: Values) -> tuple[float, float]:
    """The interval of a share of n > 0: at either end the wider of Wilson's and the percentiles over groups.

    Wilson's alone takes observations for independent; the percentiles alone have no width where all are equal.
    """
    low, high = wilson(count, n)
    assert low is not None
    assert high is not None
    found = percentiles(resampled) or (low, high)
    return min(low, found[0], count / n), max(high, found[1], count / n)
