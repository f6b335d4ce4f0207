"""A site's labelled patches, measured for the acceptance test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model_zoo.acceptance import SiteDrift, SiteFigure, SiteScope, stated_metrics
from model_zoo.basis import Basis
from model_zoo.classification import (
    Floats,
    Labels,
    ScoredAnswers,
    auc,
    expected_calibration_error,
    measure_seeds,
    sensitivity,
    specificity,
)
from model_zoo.decision import at_prevalence
from model_zoo.drift import compare
from model_zoo.intervals import wilson
from model_zoo.manifest import Bins, Manifest
from model_zoo.slide_scope import SlideReference, measured, scope_distances
from model_zoo.turns import Patch

WILSON = "Wilson"
BOOTSTRAP = "percentile bootstrap over patches, 1000 resamples; slides unknown: too narrow"
ECE = "corrected for the bootstrap's bias, basic interval; at the prevalence of these patches"
MIN_MEASURED = 8  # of a label; with fewer, some resamples have none
SCOPE_SAMPLE = 256


@dataclass(frozen=True)
class SiteAnswer:
    """A model's answer to a labelled patch.

    Attributes:
        label: 0 or 1, the site's.
        probability: of the basis; None if the patch is not assessable or was refused.
        decision: None if the patch was refused.
        max_deviation: None unless every turn is known.
        stain_distance: None without tissue.
    """

    label: int
    probability: float | None
    decision: str | None
    max_deviation: float | None = None
    stain_distance: float | None = None


def figures_of(answers: Sequence[SiteAnswer], manifest: Manifest) -> tuple[SiteFigure, ...]:
    """The figures of the acceptance test, with 95 % intervals.

    Sensitivity and specificity are those of the label, by the model's threshold, of the assessable patches; an answer
    that is left to a person counts by its label.
    """
    stated = stated_metrics(manifest)
    judged = [answer for answer in answers if answer.probability is not None]
    left = sum(answer.decision == "review" for answer in judged)
    found = [
        _share("share refused or not assessable", len(answers) - len(judged), len(answers)),
        _share("share left to a person", left, len(answers)),
    ]
    labels: Labels = np.array([answer.label for answer in judged], np.int64)
    probability = np.array([answer.probability for answer in judged], np.float64)
    positive = int(labels.sum())
    if min(positive, len(labels) - positive) < MIN_MEASURED:
        return tuple(found)
    ground = manifest.orbit or manifest
    called = probability >= ground.threshold
    hits, passes = int(called[labels == 1].sum()), int((~called[labels == 0]).sum())
    found += [_share("sensitivity", hits, positive), _share("specificity", passes, len(labels) - positive)]
    drawn = measure_seeds(
        [ScoredAnswers(probability, ground.threshold)],
        labels,
        {"mean of sensitivity and specificity": _mean, "auc": auc},
    )
    prevalence = float(labels.mean())
    moved = np.array([at_prevalence(p, prevalence, ground.calibration.prevalence) for p in probability.tolist()])
    drawn |= measure_seeds([ScoredAnswers(moved, ground.threshold)], labels, {"ece": expected_calibration_error})
    for name, interval in drawn.items():
        method = ECE if name == "ece" else BOOTSTRAP
        found.append(
            SiteFigure(
                name=name, n=len(labels), value=interval.value, low=interval.low, high=interval.high, method=method
            )
        )
    known = {name: {"stated": metric.value, "split": metric.split} for name, metric in stated.items()}
    return tuple(figure.model_copy(update=known.get(figure.name, {})) for figure in found)


def drift_of(answers: Sequence[SiteAnswer], manifest: Manifest, basis: Basis | None = None) -> tuple[SiteDrift, ...]:
    """The site's distributions against the manifest's reference.

    The probability's distribution also depends on the share of positive patches, which is the site's choice here.

    Args:
        basis: of the answers' probabilities; by default that on which the model decides full orbits.
    """
    decision = None if basis == "single" else manifest.orbit
    reference = (decision or manifest).reference
    values: dict[str, list[float | None]] = {
        "probability": [answer.probability for answer in answers],
        "max_deviation": [answer.max_deviation for answer in answers if answer.probability is not None],
        "stain_distance": [answer.stain_distance for answer in answers],
    }
    found = []
    for name, all_values in values.items():
        known = [value for value in all_values if value is not None]
        bins: Bins | None = getattr(reference, name) if reference else None
        counts = (
            np.bincount(np.digitize(known, bins.edges), minlength=len(bins.counts)).tolist() if bins else [len(known)]
        )
        drift = compare(name, bins, counts)
        found.append(
            SiteDrift(
                figure=name,
                patches=drift.predictions,
                psi=drift.psi,
                expected=drift.expected,
                verdict=drift.verdict,
                meaning=drift.meaning,
            )
        )
    return tuple(found)


def scope_of(count: int, patch_at: Callable[[int], Patch], reference: SlideReference) -> SiteScope:
    """Whether the assessable patches look like the training patches; up to 256 of them, evenly spread.

    Args:
        count: of assessable patches.
        patch_at: the pixels of one of them.
    """
    chosen = np.linspace(0, count - 1, min(SCOPE_SAMPLE, count)).round().astype(int).tolist() if count else []
    textures, densities = measured(patch_at(index) for index in chosen)
    found = scope_distances(textures, densities, reference)
    if found is None:
        return SiteScope(verdict="unknown", patches=len(textures))
    return SiteScope(
        verdict="out_of_scope" if found.outside else "in_scope",
        patches=len(textures),
        texture=found.texture,
        max_texture=found.bounds.max_texture_distance,
        stain=found.stain,
        max_stain=found.bounds.max_stain_distance,
    )


def _counts(values: Sequence[float], bins: Bins | None) -> list[int]:
    if bins is None:
        return [len(values)]
    counts: list[int] = np.bincount(np.digitize(values, bins.edges), minlength=len(bins.counts)).tolist()
    return counts


def _mean(probability: Floats, labels: Labels, threshold: float) -> float:
    return (sensitivity(probability, labels, threshold) + specificity(probability, labels, threshold)) / 2


def _share(name: str, count: int, n: int) -> SiteFigure:
    low, high = wilson(count, n)
    assert low is not None
    assert high is not None
    value = count / n
    return SiteFigure(name=name, n=n, value=value, low=min(low, value), high=max(high, value), method=WILSON)
