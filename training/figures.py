"""All figures of an artifact on one split, for each basis."""

from __future__ import annotations

import numpy as np

from model_zoo.manifest import Curves, Metric, OrbitDecision, QualityReference
from model_zoo.network import probability
from model_zoo.quality import measure as measure_quality
from model_zoo.symmetry import Group
from training import metrics
from training.calibrate import orbit_logits
from training.curves import curves
from training.data import Patches
from training.score import AnswersPatches


def figures_and_curves(
    scorer: AnswersPatches,
    group: Group,
    patches: Patches,
    split: str,
    *,
    temperature: float,
    threshold: float,
    orbit: OrbitDecision | None,
    quality: QualityReference | None,
) -> tuple[tuple[Metric, ...], Curves]:
    """Figures and curves by the patch as given and, if the artifact has it, by the mean over the orbit.

    The curves are those of the basis that decides a full orbit. The orbit's ``accuracy_as_served`` counts a patch that
    is not assessable as negative.

    Args:
        temperature: of the patch as given.
        threshold: of the patch as given.
        orbit: decision by the mean logits, or None.
        quality: bounds of assessable patches.
    """
    single = probability(scorer.logits(patches.images), temperature)
    measured = metrics.measure(single, patches.labels, threshold, split)
    if orbit is None or quality is None:
        return measured, curves(single, patches.labels, threshold, split, "single")
    mean = probability(orbit_logits(scorer, group, patches.images), orbit.calibration.temperature)
    assessable = np.array([measure_quality(image, quality).assessable for image in patches.images])
    found = (
        *measured,
        *metrics.measure(mean, patches.labels, orbit.threshold, split, "orbit"),
        *metrics.served(mean, patches.labels, orbit.threshold, split, assessable),
    )
    return found, curves(mean, patches.labels, orbit.threshold, split, "orbit")


def figures(
    scorer: AnswersPatches,
    group: Group,
    patches: Patches,
    split: str,
    *,
    temperature: float,
    threshold: float,
    orbit: OrbitDecision | None,
    quality: QualityReference | None,
) -> tuple[Metric, ...]:
    """The figures of :func:`figures_and_curves`."""
    found, _ = figures_and_curves(
        scorer, group, patches, split, temperature=temperature, threshold=threshold, orbit=orbit, quality=quality
    )
    return found
