"""ROC, reliability and risk-coverage plots of a manifest's curves, in drawing units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from model_zoo.manifest import Curves

SIDE = 200.0
RISKS = (0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        name: ``roc``, ``reliability`` or ``risk``.
        line: points of a polyline.
        dots: centres of dots.
        diagonal: whether the diagonal is drawn: chance, or perfect calibration.
        most: the value at the top of the axis.
    """

    name: str
    line: str
    dots: tuple[tuple[float, float], ...]
    diagonal: bool
    most: float


@dataclass(frozen=True)
class Plots:
    """The plots of one split."""

    curves: Curves
    plots: tuple[Plot, ...]


def plots_of(manifest: Mapping[str, Any]) -> list[Plots]:
    """The plots of a manifest's JSON; empty if it has no curves."""
    found = [Curves.model_validate(each) for each in manifest.get("curves", ())]
    return [Plots(curves, (_roc(curves), _reliability(curves), _risk(curves))) for curves in found]


def _roc(curves: Curves) -> Plot:
    return Plot("roc", _line(curves.roc), _dots([curves.operating_point]), True, 1)


def _reliability(curves: Curves) -> Plot:
    points = [(each.probability, each.positive) for each in curves.reliability]
    return Plot("reliability", _line(points), _dots(points), True, 1)


def _risk(curves: Curves) -> Plot:
    highest = max(risk for _, risk in curves.risk_coverage)
    most = next(each for each in RISKS if highest <= each)
    points = [(coverage, risk / most) for coverage, risk in curves.risk_coverage]
    return Plot("risk", _line(points), (), False, most)


def _line(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in _dots(points))


def _dots(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    return tuple((round(SIDE * x, 1), round(SIDE * (1 - y), 1)) for x, y in points)
