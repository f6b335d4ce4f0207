"""A recorded answer for the pages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from math import log10
from typing import Any

from app.diagnosis import past
from app.diagnosis.report import Answer
from app.problems import UnknownModel
from app.services import Services
from app.web.grid import GridCell, shift_grid
from app.web.occlusion import Square, squares
from app.web.rosette import Rosette, rosette
from model_zoo.basis import Basis

BAR_LEFT, BAR_WIDTH = 10.0, 300.0


@dataclass(frozen=True)
class Limits:
    """The limits of a model.

    Attributes:
        threshold, low, high: the threshold and the review band of the answer's basis.
        turn_threshold: of a single turn's probability.
        disc_alone: whether the network sees nothing outside the disc.
    """

    threshold: float
    low: float
    high: float
    turn_threshold: float
    min_tissue_fraction: float
    min_sharpness: float
    max_stain_distance: float
    disc_alone: bool


@dataclass(frozen=True)
class Bar:
    """The probability on a line from 0 to 1, in drawing units."""

    at: float
    turned_low: float
    turned_high: float
    threshold: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Gauge:
    """A figure on a logarithmic scale of 100 drawing units, its bound, and a word for it."""

    at: float
    bound: float
    word: str


@dataclass(frozen=True)
class View:
    """An answer with its drawings, which are None if there is no probability.

    Attributes:
        text: the answer's JSON.
        limits: None if the model that answered is not in the registry.
    """

    text: str
    answer: Answer
    limits: Limits | None
    bar: Bar | None
    rosette: Rosette | None
    shifts: tuple[GridCell, ...] | None
    occlusion: tuple[Square, ...] | None
    sharpness: Gauge | None = None


def view(services: Services, text: str) -> View:
    """The view of a recorded answer, from its JSON.

    Raises:
        RecordsUnavailable: if the model must be looked up and the database fails.
    """
    answer = past.read(text)
    limits = _limits(services, answer.model.sha256, answer.basis)
    return View(
        text=text,
        answer=answer,
        limits=limits,
        bar=None if answer.probability is None else _bar(answer, answer.probability, limits),
        rosette=(
            None
            if answer.probability is None
            else rosette(answer.consistency, limits.turn_threshold if limits else None)
        ),
        sharpness=_sharpness(answer.quality.sharpness, limits.min_sharpness) if limits else None,
        shifts=None if answer.probability is None or answer.shifts is None else shift_grid(answer.shifts),
        occlusion=None if answer.probability is None or answer.occlusion is None else squares(answer.occlusion),
    )


def _bar(answer: Answer, probability: float, limits: Limits | None) -> Bar:
    known = [p for p in answer.consistency.probabilities if p is not None]
    return Bar(
        at=_x(probability),
        turned_low=_x(min(known)),
        turned_high=_x(max(known)),
        threshold=_x(limits.threshold) if limits else None,
        low=_x(limits.low) if limits else 0,
        high=_x(limits.high) if limits else 0,
    )


def _sharpness(found: float, bound: float) -> Gauge:
    """From 1 to 100,000 grey levels squared; four times the bound is clear of it: half the contrast."""
    word = "blurred" if found < bound else "near" if found < 4 * bound else "clear"
    at, least = (round(min(100.0, 20 * log10(max(1.0, value))), 1) for value in (found, bound))
    return Gauge(at, least, word)


def _x(share: float) -> float:
    return round(BAR_LEFT + BAR_WIDTH * share, 2)


def _limits(services: Services, model_id: str, basis: Basis) -> Limits | None:
    model = services.serving.state.model
    if model is not None and model.sha256 == model_id:
        return limits_of(model.manifest.model_dump_json(exclude={"golden_cases"}), basis)
    try:
        return limits_of(services.registry.find(model_id).manifest, basis)
    except UnknownModel:
        return None


@lru_cache(maxsize=64)
def limits_of(manifest: str, basis: Basis) -> Limits:
    """The limits in a manifest's JSON."""
    read: dict[str, Any] = json.loads(manifest)
    decided_by = read["orbit"] if basis == "orbit" else read
    low, high = decided_by["review_band"]
    quality = read["quality"]
    return Limits(
        threshold=decided_by["threshold"],
        low=low,
        high=high,
        turn_threshold=read["threshold"],
        min_tissue_fraction=quality["min_tissue_fraction"],
        min_sharpness=quality["min_sharpness"],
        max_stain_distance=quality["max_stain_distance"],
        disc_alone=read["input"].get("mask", "disc") == "disc",
    )
