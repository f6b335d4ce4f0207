"""The rosette: a polar plot of the probability for each turn of a patch; consistent answers lie on a circle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, radians, sin

from model_zoo.decision import ConsistencyReport

HOLE, RIM, LABELS = 30.0, 124.0, 141.0
_STEP_DEG = 5
_TURN = 360.0


@dataclass(frozen=True)
class Point:
    """A turn with a known probability; ``x`` and ``y`` are plot coordinates with the centre 0, 0."""

    x: float
    y: float
    angle_deg: float
    reflected: bool
    probability: float
    measured: bool
    as_given: bool


@dataclass(frozen=True)
class Mark:
    """A turn's spoke from the inner to the outer circle, and the position of its label."""

    x0: float
    y0: float
    x1: float
    y1: float
    label_x: float
    label_y: float
    angle_deg: float
    labelled: bool


@dataclass(frozen=True)
class Rosette:
    """The elements of the plot.

    Attributes:
        curves: closed path data through the known points, one for turns, another for reflections if there are any.
        floor: path data of the band of the interpolation floor around the mean.
        limits: radii of the consistency limit, if within the plot.
        rings: radii of the probabilities 0, 0.25, 0.5, 0.75, 1.
        threshold: radius of the threshold, if it is known.
    """

    points: tuple[Point, ...]
    marks: tuple[Mark, ...]
    curves: tuple[str, ...]
    floor: str
    mean: float
    limits: tuple[float, ...]
    rings: tuple[float, ...]
    threshold: float | None


def rosette(consistency: ConsistencyReport, threshold: float | None) -> Rosette:
    """Lay out the plot: 0° is at the top, angles run counter-clockwise like the turns."""
    points = tuple(
        Point(
            *_place(_radius(probability), angle),
            angle_deg=angle,
            reflected=reflected,
            probability=probability,
            measured=source == "measured",
            as_given=index == 0,
        )
        for index, (angle, reflected, probability, source) in enumerate(
            zip(
                consistency.angles_deg,
                consistency.reflected,
                consistency.probabilities,
                consistency.source,
                strict=True,
            )
        )
        if probability is not None
    )
    low, high = consistency.mean - consistency.limit, consistency.mean + consistency.limit
    floor = consistency.interpolation_floor
    return Rosette(
        points=points,
        marks=tuple(_mark(angle) for angle in sorted(set(consistency.angles_deg))),
        curves=tuple(filter(None, (_curve([p for p in points if p.reflected is side]) for side in (False, True)))),
        floor=_band(consistency.mean - floor, consistency.mean + floor),
        mean=_radius(consistency.mean),
        limits=tuple(_radius(bound) for bound in (low, high) if 0 < bound < 1),
        rings=tuple(_radius(quarter / 4) for quarter in range(5)),
        threshold=None if threshold is None else _radius(threshold),
    )


def _radius(probability: float) -> float:
    return round(HOLE + (RIM - HOLE) * min(1.0, max(0.0, probability)), 2)


def _place(radius: float, angle_deg: float) -> tuple[float, float]:
    return round(-radius * sin(radians(angle_deg)), 2), round(-radius * cos(radians(angle_deg)), 2)


def _mark(angle_deg: float) -> Mark:
    labelled = angle_deg % 90 == 0
    return Mark(
        *_place(HOLE, angle_deg), *_place(RIM, angle_deg), *_place(LABELS, angle_deg), angle_deg, labelled=labelled
    )


def _curve(points: list[Point]) -> str:
    """A curve through the points, with the probability linear in the angle: equal probabilities give a circle."""
    if len(points) < 3:
        return ""
    ordered = sorted(points, key=lambda point: point.angle_deg)
    corners = []
    for this, following in zip(ordered, [*ordered[1:], ordered[0]], strict=True):
        span = (following.angle_deg - this.angle_deg) % _TURN
        steps = max(1, round(span / _STEP_DEG))
        for step in range(steps):
            share = step / steps
            probability = this.probability + share * (following.probability - this.probability)
            corners.append(_place(_radius(probability), this.angle_deg + share * span))
    return _path(corners)


def _band(low: float, high: float) -> str:
    """Two circles with opposite directions."""
    return " ".join(_circle(_radius(bound), sweep) for bound, sweep in ((high, 1), (low, 0)))


def _circle(radius: float, sweep: int) -> str:
    return f"M{radius} 0A{radius} {radius} 0 1 {sweep} {-radius} 0A{radius} {radius} 0 1 {sweep} {radius} 0Z"


def _path(corners: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in corners) + "Z"
