"""Compares released artifacts with their teachers on the same patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_zoo.network import Network, probability
from model_zoo.symmetry import Group
from training.calibrate import fit_operating_point, orbit_logits
from training.data import Patches, halves_of_valid, load
from training.metrics import FIGURES, ScoredAnswers, difference, measure_seeds
from training.score import ChunkScorer
from training.study.markdown import cell, table
from training.study.results import Document, provenance, published_split
from training.teachers import open_teacher

SHOWN = {"accuracy": "accuracy", "auc": "AUC", "brier": "Brier", "area_under_risk_coverage": "area under risk–coverage"}
COMPARED = {name: FIGURES[name] for name in ("accuracy", "auc")}

Logits = npt.NDArray[np.float32]
Scored = dict[str, dict[str, Logits]]


def run(files: Sequence[Path], data: Path, *, read_test: bool) -> Document:
    """Measure every network on valid and optionally on test, with thresholds from valid's calibrating half.

    Args:
        files: artifacts, by the patch as given and by the orbit, and teachers, see :mod:`training.teachers`.

    Raises:
        DataError: if a split is missing.
        WeightsError, ArtifactError: if a file is not a network.
    """
    train, valid = load(data, "train"), load(data, "valid")
    splits = {"calibrating": halves_of_valid(valid)[1], "valid": valid}
    if read_test:
        splits["test"] = load(data, "test")
    scored: Scored = {}
    for file in files:
        scored |= _scored(file, train.images, splits)
    published = {name: each for name, each in splits.items() if name != "calibrating"}
    answers = {name: _answers(by_split, splits) for name, by_split in scored.items()}
    first = next(iter(answers))
    return {
        **provenance({name: each.sha256 for name, each in published.items()}),
        "n": {name: len(each) for name, each in published.items()},
        "rows": [
            {
                "name": name,
                **{
                    split: {figure: asdict(value) for figure, value in _figures(by_split[split], patches).items()}
                    for split, patches in published.items()
                },
                "to_first": {
                    split: {
                        figure: asdict(value)
                        for figure, value in difference(
                            [by_split[split]], [answers[first][split]], patches.labels, COMPARED
                        ).items()
                    }
                    for split, patches in published.items()
                },
            }
            for name, by_split in answers.items()
        ],
    }


def _figures(answers: ScoredAnswers, patches: Patches) -> dict[str, Any]:
    return dict(measure_seeds([answers], patches.labels, {name: FIGURES[name] for name in SHOWN}))


def _scored(file: Path, train: npt.NDArray[np.uint8], splits: dict[str, Patches]) -> Scored:
    if file.suffix == ".npz":
        teacher = open_teacher(file, train)
        differences = {name: teacher.difference(each.images) for name, each in splits.items()}
        two = {name: np.stack([np.zeros_like(each), each], axis=1) for name, each in differences.items()}
        return {f"{file.stem}, batch norm re-estimated": two}
    network = Network(file.read_bytes())
    opened, group = ChunkScorer(network.logits), Group.parse(network.manifest.group.name)
    return {
        file.stem: {name: opened.logits(each.images) for name, each in splits.items()},
        f"{file.stem}, orbit": {name: orbit_logits(opened, group, each.images) for name, each in splits.items()},
    }


def _answers(logits: dict[str, Logits], splits: dict[str, Patches]) -> dict[str, ScoredAnswers]:
    operating = fit_operating_point(logits["calibrating"], splits["calibrating"].labels)
    return {
        name: ScoredAnswers(probability(each, operating.temperature), operating.threshold)
        for name, each in logits.items()
    }


def section(d: Any) -> list[str]:
    """Markdown: a row for each network, and its paired difference to the first."""
    split = published_split(d)
    rows = [
        [
            row["name"],
            *(cell(row[split][figure]) for figure in SHOWN),
            *(cell(row["to_first"][split][figure], "+.3f") for figure in ("accuracy", "auc")),
        ]
        for row in d["rows"]
    ]
    header = ["network", *SHOWN.values(), "accuracy − the first's", "AUC − the first's"]
    return [
        f"Measured on **{split}** (n = {d['n'][split]:,}); thresholds come from valid's calibrating half. *Orbit*: the "
        "mean logits over all turns. The P4M-DenseNet (Veeling et al. 2018) has seen all of PCam's training split, and "
        "its epoch was chosen on all of PCam's valid split.",
        "",
        *table(header, rows),
    ]
