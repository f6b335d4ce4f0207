"""From probabilities to a decision."""

from __future__ import annotations

import json

import numpy as np
import pytest

from app.diagnosis.report import shortest
from model_zoo.basis import Ground
from model_zoo.decision import consistency_report, decide, label_of
from model_zoo.manifest import Manifest
from model_zoo.network import Network
from model_zoo.orbit import Orbit, Source
from model_zoo.quality import Quality
from model_zoo.reasons import Reason

GOOD = Quality(tissue_fraction=0.9, sharpness=1e6, stain_distance=0.1, assessable=True)


def orbit_of(known: int, size: int = 12) -> Orbit:
    source: tuple[Source, ...] = tuple("measured" if g < known else "not_measured" for g in range(size))
    return Orbit(np.zeros((size, 2), np.float32), source, True)


def by(manifest: Manifest, probability: float) -> Ground:
    """A decision by the patch as given."""
    return Ground("single", probability, None, manifest.threshold, manifest.review_band, manifest.calibration)


def said(reasons: list[Reason]) -> list[tuple[str, object, object]]:
    assert all(reason.text for reason in reasons)
    return [(reason.code, reason.value, reason.limit) for reason in reasons]


@pytest.fixture
def manifest(network: Network) -> Manifest:
    """The shipped manifest with round numbers."""
    limits = {"limit": 0.1, "interpolation_floor": 0.03}
    changes = {"threshold": 0.5, "review_band": (0.35, 0.65), "consistency": limits}
    quality = network.manifest.quality.model_dump() | {
        "min_tissue_fraction": 0.1,
        "min_sharpness": 20.0,
        "max_stain_distance": 4.0,
    }
    return Manifest.model_validate_json(
        json.dumps(json.loads(network.manifest.model_dump_json()) | changes | {"quality": quality})
    )


@pytest.mark.parametrize(
    ("probability", "decision", "label"),
    [
        (0.0, "negative", "no_metastasis"),
        (0.3499, "negative", "no_metastasis"),
        (0.35, "review", "no_metastasis"),
        (0.4999, "review", "no_metastasis"),
        (0.5, "review", "metastasis"),
        (0.65, "review", "metastasis"),
        (0.6501, "positive", "metastasis"),
        (1.0, "positive", "metastasis"),
    ],
)
def test_threshold_and_review_band(manifest: Manifest, probability: float, decision: str, label: str) -> None:
    consistency = consistency_report(manifest, orbit_of(12), [probability] * 12)
    found, reasons = decide(by(manifest, probability), consistency, GOOD, manifest.quality)
    assert (found, label_of(probability, manifest.threshold)) == (decision, label)
    assert said(reasons) == ([("review_band", probability, (0.35, 0.65))] if decision == "review" else [])


def test_an_inconsistent_orbit_is_for_review(manifest: Manifest) -> None:
    consistency = consistency_report(manifest, orbit_of(12), [0.9] * 11 + [0.5])
    decision, reasons = decide(by(manifest, 0.9), consistency, GOOD, manifest.quality)
    assert decision == "review"
    assert said(reasons) == [("turning", pytest.approx(0.3666667), 0.1)]
    assert consistency.consistent is False


def test_the_figures_of_an_orbit(manifest: Manifest) -> None:
    consistency = consistency_report(manifest, orbit_of(12), [0.9] * 9 + [0.5, 0.4, 0.3])
    assert consistency.mean == pytest.approx(0.775)
    assert consistency.max_deviation == pytest.approx(0.475)
    assert consistency.std == pytest.approx(np.std([0.9] * 9 + [0.5, 0.4, 0.3]))
    assert consistency.label_agreement == pytest.approx(10 / 12)


def test_an_unknown_part_leaves_consistency_open(manifest: Manifest) -> None:
    consistency = consistency_report(manifest, orbit_of(4), [0.9, 0.9, 0.2, 0.9])
    assert consistency.consistent is None
    assert consistency.probabilities == [0.9, 0.9, 0.2, 0.9] + [None] * 8
    assert decide(by(manifest, 0.9), consistency, GOOD, manifest.quality) == ("positive", [])


@pytest.mark.parametrize(
    ("quality", "reasons"),
    [
        (Quality(0.02, 100.0, 1.0, False), [("tissue", 0.02, 0.1)]),
        (Quality(0.9, 3.0, 1.0, False), [("sharpness", 3.0, 20.0)]),
        (Quality(0.9, 100.0, 9.0, False), [("stain", 9.0, 4.0)]),
        (
            Quality(0.0, 100.0, None, False),
            [("tissue", 0.0, 0.1), ("no_tissue", None, None)],
        ),
    ],
)
def test_guesswork_is_refused_first(
    manifest: Manifest, quality: Quality, reasons: list[tuple[str, object, object]]
) -> None:
    consistency = consistency_report(manifest, orbit_of(12), [0.5] * 12)
    decision, found = decide(by(manifest, 0.5), consistency, quality, manifest.quality)
    assert (decision, said(found)) == ("not_assessable", reasons)


def test_logits_are_the_shortest_decimals_that_round_trip() -> None:
    values = np.random.default_rng(3).normal(0, 4, 10_000).astype(np.float32)
    for value in [*values, np.float32(0.1), np.float32(-1e-9), np.float32(16777216), np.float32(0)]:
        text = json.dumps(shortest(value))
        assert np.float32(float(text)) == value
        assert len(text.replace("-", "").replace(".", "").lstrip("0")) <= 14
    assert json.dumps(shortest(np.float32(0.1))) == "0.1"
