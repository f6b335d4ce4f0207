"""The server's answers. Fields that a newer server adds are in ``raw``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeVar

Decision = Literal["positive", "negative", "review", "not_assessable"]
Label = Literal["metastasis", "no_metastasis"]

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """The model that answered; ``sha256`` identifies it."""

    name: str
    version: str
    sha256: str
    microns_per_pixel: float | None = None


@dataclass(frozen=True)
class Reason:
    """Why the decision is ``review`` or ``not_assessable``; programs use the code."""

    code: str
    value: float | None
    limit: float | list[float] | None
    text: str


@dataclass(frozen=True)
class Consistency:
    """The answers of the patch's turns, one entry for each element of the network's group."""

    exact: bool | None
    max_deviation: float | None
    limit: float | None
    consistent: bool | None
    angles_deg: list[float]
    reflected: list[bool]
    probabilities: list[float | None]
    source: list[str]


@dataclass(frozen=True)
class Quality:
    """Whether the patch can be assessed."""

    tissue_fraction: float
    sharpness: float
    stain_distance: float | None
    assessable: bool


@dataclass(frozen=True)
class Answer:
    """A recorded answer to one patch.

    Attributes:
        label, probability: None if the patch is not assessable.
        logits: the network's outputs for the patch as given.
        raw: the JSON object.
    """

    id: str
    created_at: datetime
    model: Model
    label: Label | None
    probability: float | None
    basis: str
    decision: Decision
    reasons: list[Reason]
    logits: tuple[float, float]
    consistency: Consistency
    quality: Quality
    case_id: str | None
    slide_id: str | None
    raw: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """Answers, newest first, and the cursor of the next page, None on the last."""

    answers: list[Answer]
    next: str | None


def answer_of(raw: dict[str, Any]) -> Answer:
    """An answer from its JSON object."""
    return Answer(
        id=raw["id"],
        created_at=datetime.fromisoformat(raw["created_at"]),
        model=_known(Model, raw["model"]),
        label=raw["label"],
        probability=raw["probability"],
        basis=raw["basis"],
        decision=raw["decision"],
        reasons=[_known(Reason, reason) for reason in raw["reasons"]],
        logits=(raw["logits"][0], raw["logits"][1]),
        consistency=_known(Consistency, raw["consistency"]),
        quality=_known(Quality, raw["quality"]),
        case_id=raw["case_id"],
        slide_id=raw["slide_id"],
        raw=raw,
    )


def _known(kind: type[T], raw: dict[str, Any]) -> T:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type] # a dataclass
    return kind(**{name: value for name, value in raw.items() if name in names})
