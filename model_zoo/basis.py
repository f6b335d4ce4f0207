"""What a decision is based on: the patch as given, or all turns of it together."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from model_zoo.manifest import Calibration, Manifest
from model_zoo.network import probability
from model_zoo.orbit import Orbit

Basis = Literal["single", "orbit"]


@dataclass(frozen=True)
class Ground:
    """What an answer's label and decision follow from.

    Attributes:
        basis: ``"orbit"`` for the mean logits of all turns, ``"single"`` for those of the patch as given.
        probability: calibrated for this basis.
        logits: mean logits of the orbit; None for ``"single"``.
        threshold, review_band, calibration: the manifest's for this basis.
    """

    basis: Basis
    probability: float
    logits: tuple[float, float] | None
    threshold: float
    review_band: tuple[float, float]
    calibration: Calibration


def ground_of(manifest: Manifest, orbit: Orbit, as_given: float) -> Ground:
    """The orbit where all of its elements are known and the artifact was calibrated for it, else the patch as given.

    Args:
        manifest: of the model that answered.
        orbit: what was measured.
        as_given: calibrated probability of the patch as given.
    """
    decision = manifest.orbit
    if decision is None or "not_measured" in orbit.source:
        return Ground("single", as_given, None, manifest.threshold, manifest.review_band, manifest.calibration)
    logits = mean_logits(orbit)
    found = float(probability(np.array([logits]), decision.calibration.temperature)[0])
    return Ground("orbit", found, logits, decision.threshold, decision.review_band, decision.calibration)


def mean_logits(orbit: Orbit) -> tuple[float, float]:
    """Mean of the logits of all elements, float64.

    ``fsum`` rounds once: the sum does not depend on the elements' order, so every turn that the network answers
    exactly gives the same bits.
    """
    first, second = orbit.logits.astype(np.float64).T
    return fsum(first) / len(first), fsum(second) / len(second)
