"""What people's verdicts say of a model: recorded answers that were drawn at random, and regions of slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model_zoo.acceptance import SiteFigure
from model_zoo.basis import Basis
from model_zoo.classification import Labels, auc, debiased, expected_calibration_error
from model_zoo.decision import at_prevalence
from model_zoo.grouped import Flags, Indices, Resampled, Values, percentiles, widest
from model_zoo.manifest import Manifest
from model_zoo.site_figures import ECE, SiteAnswer

MEAN = "mean of sensitivity and specificity"
METHOD = "the wider of Wilson and percentile bootstrap over slides, 1000 resamples"
BOOTSTRAP = "percentile bootstrap over slides, 1000 resamples"
MIN_OF_EACH = 8  # of a label; with fewer, some resamples have none


@dataclass(frozen=True)
class DrawnAnswer:
    """A recorded answer that was drawn at random to be judged.

    Attributes:
        patch: SHA-256 of its pixels.
        group: its slide, else its case, else its own id: what is resampled.
        named: whether it names a slide or a case.
        basis: of its probability.
        verdict: ``agree`` or ``disagree`` with the decision; None unless the answer is judged.
    """

    patch: str
    group: str
    named: bool
    basis: Basis
    decision: str
    probability: float | None
    max_deviation: float | None
    stain_distance: float | None
    verdict: str | None

    @property
    def decided(self) -> bool:
        """Whether the model decided it itself."""
        return self.decision in {"positive", "negative"}

    @property
    def label(self) -> int | None:
        """1 or 0 by the verdict; None where it gives no label.

        Who disagrees with ``positive`` or ``negative`` holds the other one for right. A verdict on an answer that the
        model left to a person says whether that was right, not what the patch shows.
        """
        if not self.decided or self.verdict is None:
            return None
        return int((self.decision == "positive") == (self.verdict == "agree"))


@dataclass(frozen=True)
class JudgedRegion:
    """A region of a slide's run with people's verdict.

    Attributes:
        slide: opaque id.
        largest: its largest probability.
        confirmed: whether people agree that it is suspicious; None unless it is judged.
    """

    slide: str
    cells: int
    largest: float
    confirmed: bool | None


def answer_figures(answers: Sequence[DrawnAnswer], manifest: Manifest) -> tuple[SiteFigure, ...]:
    """Figures of the drawn answers, with 95 % intervals over slides.

    Sensitivity and specificity are those of the answers that the model decided itself and people judged. The
    calibration error is of the same answers, at their prevalence.
    """
    if not answers:
        return ()
    drawn = Resampled([answer.group for answer in answers])
    decided = np.array([answer.decided for answer in answers])
    labels: Labels = np.array([-1 if answer.label is None else answer.label for answer in answers], np.int64)
    called, known = _of(answers, "positive"), labels >= 0
    everything = np.ones(len(answers), np.bool_)
    found = [
        _share("share refused or not assessable", _of(answers, "not_assessable"), everything, drawn),
        _share("share left to a person", _of(answers, "review"), everything, drawn),
    ]
    if decided.any():
        found.append(_share("share of decided answers that are judged", known, decided, drawn))
    if min(int((labels == 1).sum()), int((labels == 0).sum())) < MIN_OF_EACH:
        return tuple(found)
    hits = _share("sensitivity", called, labels == 1, drawn)
    passes = _share("specificity", ~called, labels == 0, drawn)
    means = (drawn.ratios(called & (labels == 1), labels == 1) + drawn.ratios(~called & (labels == 0), labels == 0)) / 2
    error = _calibration_error(answers, labels, manifest)
    n = int(known.sum())
    found += [hits, passes, _figure(MEAN, n, (hits.value + passes.value) / 2, means)]
    found.append(_debiased("ece", n, error(np.arange(len(answers))), drawn.figure(error)))
    return tuple(found)


def region_figures(regions: Sequence[JudgedRegion]) -> tuple[SiteFigure, ...]:
    """Figures among the judged regions, with 95 % intervals over slides.

    A confirmed region holds metastasis somewhere, not in each of its cells; a denied one holds none. So the unit is
    the region, and the share of cells in confirmed regions bounds the share of positive cells from above.
    """
    judged = [region for region in regions if region.confirmed is not None]
    if not judged:
        return ()
    drawn = Resampled([region.slide for region in judged])
    confirmed = np.array([bool(region.confirmed) for region in judged])
    cells = np.array([float(region.cells) for region in judged])
    largest = np.array([region.largest for region in judged])
    positive = np.where(confirmed, cells, 0.0)
    share = float(positive.sum() / cells.sum())
    found = [
        _share("share of judged regions that are confirmed", confirmed, np.ones(len(judged), np.bool_), drawn),
        _figure(
            "share of judged regions' cells in confirmed ones", int(cells.sum()), share, drawn.ratios(positive, cells)
        ),
    ]
    if min(int(confirmed.sum()), int((~confirmed).sum())) >= MIN_OF_EACH:

        def ranking(chosen: Indices) -> float:
            labels = confirmed[chosen].astype(np.int64)
            return auc(largest[chosen], labels) if 0 < labels.sum() < len(labels) else float("nan")

        name = "AUC of a region's largest probability, confirmed against denied"
        found.append(_figure(name, len(judged), ranking(np.arange(len(judged))), drawn.figure(ranking)))
    return tuple(found)


def site_answers(answers: Sequence[DrawnAnswer], basis: Basis) -> list[SiteAnswer]:
    """The answers on this basis, as the drift of a site's patches takes them; the label is not used there."""
    return [
        SiteAnswer(
            each.label or 0, each.probability, each.decision, each.max_deviation, stain_distance=each.stain_distance
        )
        for each in answers
        if each.basis == basis
    ]


def _calibration_error(
    answers: Sequence[DrawnAnswer], labels: Labels, manifest: Manifest
) -> Callable[[Indices], float]:
    known = labels >= 0
    prevalence = float(labels[known].mean())
    orbit = (manifest.orbit or manifest).calibration.prevalence
    at = {"orbit": orbit, "single": manifest.calibration.prevalence}
    moved = np.array([at_prevalence(each.probability or 0.0, prevalence, at[each.basis]) for each in answers])

    def error(chosen: Indices) -> float:
        judged = chosen[known[chosen]]
        return expected_calibration_error(moved[judged], labels[judged]) if len(judged) else float("nan")

    return error


def _of(answers: Sequence[DrawnAnswer], decision: str) -> Flags:
    return np.array([answer.decision == decision for answer in answers])


def _share(name: str, flags: Flags, among: Flags, drawn: Resampled) -> SiteFigure:
    count, n = int((flags & among).sum()), int(among.sum())
    low, high = widest(count, n, drawn.ratios(flags & among, among))
    return SiteFigure(name=name, n=n, value=count / n, low=low, high=high, method=METHOD)


def _figure(name: str, n: int, value: float, resampled: Values) -> SiteFigure:
    low, high = percentiles(resampled) or (value, value)
    return SiteFigure(name=name, n=n, value=value, low=min(low, value), high=max(high, value), method=BOOTSTRAP)


def _debiased(name: str, n: int, value: float, resampled: Values) -> SiteFigure:
    low, high = percentiles(resampled) or (value, value)
    value, low, high = debiased(value, float(np.nanmean(resampled)), low, high)
    method = f"{ECE}; {BOOTSTRAP}"
    return SiteFigure(name=name, n=n, value=value, low=min(low, value), high=max(high, value), method=method)
