"""How doubtful an answer is: how close its probability is to the review band, or how far the turns disagree.

1 inside the band, at the limit of consistency, and for what the model leaves to a person; 0 for a probability of 0 or 1
that every turn shares. Bands and limits are those of the model that answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, and_, case, literal, select

from app.records.tables import models, predictions


@dataclass(frozen=True)
class Bounds:
    """The review band and the limit of consistency of a model's answers of one basis."""

    model: str
    basis: str
    low: float
    high: float
    limit: float


class KnownBounds:
    """The bounds of the registered models; each manifest is read once."""

    def __init__(self) -> None:
        self._known: dict[str, list[Bounds]] = {}

    def read(self, connection: Connection) -> list[Bounds]:
        """The bounds of every model, the newest first."""
        order = models.c.uploaded_at.desc(), models.c.id
        ids = list(connection.execute(select(models.c.id).order_by(*order)).scalars())
        if missing := [each for each in ids if each not in self._known]:
            query = select(models.c.id, models.c.manifest).where(models.c.id.in_(missing))
            for model, manifest in connection.execute(query):
                self._known[model] = _bounds(model, json.loads(manifest))
        return [bounds for each in ids for bounds in self._known[each]]


def _bounds(model: str, manifest: dict[str, Any]) -> list[Bounds]:
    decided = {"single": manifest, "orbit": manifest.get("orbit")}
    bands = [(basis, *by["review_band"]) for basis, by in decided.items() if by]
    return [Bounds(model, basis, low, high, manifest["consistency"]["limit"]) for basis, low, high in bands]


def doubt(known: Iterable[Bounds]) -> ColumnElement[float]:
    """The doubt of a row of predictions in SQL; of a model that is not registered, the distance from ½."""
    columns = predictions.c
    branches = [(and_(columns.model_sha256 == each.model, columns.basis == each.basis), _by(each)) for each in known]
    unknown = _by(Bounds("", "", 0.5, 0.5, 1.0))
    left = columns.decision.in_(("review", "not_assessable"))
    return case((left, literal(1.0, Double())), *branches, else_=unknown)


def _by(bounds: Bounds) -> ColumnElement[float]:
    probability, deviation = predictions.c.probability, predictions.c.max_deviation
    turning = deviation / max(bounds.limit, 1e-9)
    near = case(
        (probability < bounds.low, probability / max(bounds.low, 1e-9)),
        (probability > bounds.high, (1 - probability) / max(1 - bounds.high, 1e-9)),
        else_=literal(1.0, Double()),
    )
    return case((turning >= 1, literal(1.0, Double())), (turning > near, turning), else_=near)
