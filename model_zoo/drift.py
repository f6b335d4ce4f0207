"""Drift of one quantity from a reference: the population stability index and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from model_zoo.manifest import Bins

MODERATE, SHIFTED = 0.1, 0.25
ENOUGH = 200
FIGURES = ("probability", "max_deviation", "stain_distance")


@dataclass(frozen=True)
class FigureDrift:
    """The drift of one quantity from the reference.

    Attributes:
        figure: ``"probability"``, ``"max_deviation"`` or ``"stain_distance"``.
        predictions: number of predictions with this quantity.
        reference: number of patches of the reference; None if the artifact has none, as are the following attributes.
        psi: population stability index; None also without predictions.
        expected: its mean without drift, for these numbers.
        shares: shares of the predictions per bin of the reference, lowest first; None also without predictions.
        verdict: ``stable``, ``moderate``, ``shifted``, ``too_few`` or ``no_reference``.
        meaning: the verdict in a sentence.
    """

    figure: str
    predictions: int
    reference: int | None
    psi: float | None
    expected: float | None
    shares: list[float] | None
    verdict: str
    meaning: str


def compare(figure: str, reference: Bins | None, counts: Sequence[int]) -> FigureDrift:
    """One quantity's drift from the predictions per bin (a single bin without a reference)."""
    n = sum(counts)
    if reference is None:
        return FigureDrift(figure, n, None, None, None, None, "no_reference", "the artifact has no reference")
    m, size = sum(reference.counts), len(reference.counts)
    if not n:
        return FigureDrift(figure, 0, m, None, None, None, "too_few", "no prediction has this value")
    found, expected = psi(reference.counts, counts), (size - 1) * (1 / n + 1 / m)
    if n < ENOUGH:
        verdict = "too_few"
        meaning = f"{n} of the {ENOUGH} predictions that it takes: without any drift the PSI is {expected:.2g} or so"
    elif found < MODERATE:
        verdict, meaning = "stable", "distributed as in the reference"
    elif found <= SHIFTED:
        verdict, meaning = "moderate", "distributed somewhat differently from the reference: watch it"
    else:
        verdict, meaning = "shifted", "distributed differently from the reference: find the cause"
    return FigureDrift(figure, n, m, found, expected, [count / n for count in counts], verdict, meaning)


def psi(reference: Sequence[int], counts: Sequence[int]) -> float:
    """Population stability index, Σ (q − p) ln(q / p), of two rows of counts.

    Half a count is added to every bin of both, so that empty bins give finite values.
    """
    expected, found = (_shares(each) for each in (reference, counts))
    return sum((q - p) * log(q / p) for p, q in zip(expected, found, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]
