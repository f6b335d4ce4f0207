"""Scores of a shadow model, with the answers given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, case, func, insert, select

from app.records.database import transaction
from app.records.tables import shadow_scores
from model_zoo.basis import Basis
from model_zoo.intervals import wilson


@dataclass(frozen=True)
class Score:
    """The two answers to one patch on this basis; None where the patch was not assessable."""

    prediction_id: str
    shadow_id: str
    active_id: str
    shadow_label: str | None
    active_label: str | None
    shadow_probability: float | None
    active_probability: float | None
    basis: Basis = "single"


@dataclass(frozen=True)
class Disagreement:
    """How a shadow model's answers differ from the active one's, on the same live patches.

    Attributes:
        basis: of both models' answers.
        patches: number of patches that both answered.
        labels_differ: number of different labels; not assessable counts as a label.
        low, high: 95 % Wilson interval of the share of labels that differ; None without patches.
        mean_difference, largest_difference: of the probabilities, absolute, where both were assessable.
    """

    active_id: str
    basis: Basis
    patches: int
    labels_differ: int
    low: float | None
    high: float | None
    mean_difference: float | None
    largest_difference: float | None


class ShadowScores:
    """Writes and summarizes scores.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, scores: Sequence[Score]) -> None:
        with transaction(self._engine) as connection:
            connection.execute(insert(shadow_scores), [vars(score) for score in scores])

    def disagreements(self, shadow_id: str) -> list[Disagreement]:
        """The disagreement of a shadow with each model and basis that it was compared with."""
        columns = shadow_scores.c
        shadow_label, active_label = (func.coalesce(c, "none") for c in (columns.shadow_label, columns.active_label))
        difference = func.abs(columns.shadow_probability - columns.active_probability)
        differ = case((shadow_label != active_label, 1), else_=0)
        query = (
            select(
                columns.active_id,
                columns.basis,
                func.count(),
                func.sum(differ),
                func.avg(difference),
                func.max(difference),
            )
            .where(columns.shadow_id == shadow_id)
            .group_by(columns.active_id, columns.basis)
            .order_by(columns.active_id, columns.basis)
        )
        with transaction(self._engine) as connection:
            return [
                Disagreement(active_id, basis, patches, int(differing), *wilson(int(differing), patches), mean, largest)
                for active_id, basis, patches, differing, mean, largest in connection.execute(query)
            ]
