"""Choices of shape and teaching, each against one network under one small budget, with several seeds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from training.data import halves_of_valid, load
from training.metrics import FIGURES, Interval, difference, measure_seeds
from training.study.cells import CHOSEN, Cell
from training.study.markdown import cell, table
from training.study.measure import size_of, turn_changes
from training.study.results import Document, provenance
from training.study.table import Table

TITLES = {"auc": "AUC", "accuracy": "accuracy"}
MEASURED = {name: FIGURES[name] for name in TITLES}
PRECISION = "int8"


def run(planned: list[Cell], runs: Path, data: Path) -> Document:
    """Figures of the finished networks in INT8, the patch as given, on valid's choosing half.

    The operating points come from the calibrating half; changes by a turn of 30° are those of seed 0.

    Raises:
        DataError: if a split is missing.
    """
    valid = load(data, "valid")
    choosing = halves_of_valid(valid)[0]
    measured = Table(planned, runs, {"valid": valid, "choosing": choosing})
    first = measured.answers(CHOSEN, PRECISION, "choosing")
    rows: list[JsonValue] = []
    for name, folders in measured.folders.items():
        row: Document = {"name": name, "seeds": list(measured.seeds[name])}
        rows.append(row)
        if not folders:
            continue
        answers = measured.answers(name, PRECISION, "choosing")
        row["macs"] = size_of(folders[0]).macs
        row["thirty_degrees"] = turn_changes(folders[0], PRECISION, choosing).thirty_degrees
        row["figures"] = _intervals(measure_seeds(answers, choosing.labels, MEASURED))
        if name != CHOSEN and first:
            row["to_first"] = _intervals(difference(answers, first, choosing.labels, MEASURED))
    recipe = planned[0].recipe
    return {
        **provenance({"valid": valid.sha256}),
        "n": len(choosing),
        "patches": recipe.patches,
        "epochs": recipe.epochs,
        "teacher": planned[0].teachers[0].stem,
        "rows": rows,
    }


def _intervals(figures: dict[str, Interval]) -> Document:
    return {name: asdict(interval) for name, interval in figures.items()}


def section(d: Any) -> list[str]:
    """Markdown: a row for each choice, with its paired difference to the first."""
    rows = []
    for row in d["rows"]:
        if not row["seeds"]:
            rows.append([row["name"], "not run", *[""] * (2 + 2 * len(TITLES))])
            continue
        gained = row.get("to_first")
        rows.append(
            [
                row["name"],
                str(len(row["seeds"])),
                f"{row['macs'] / 1e6:.1f}",
                *(cell(row["figures"][name]) for name in TITLES),
                *(cell(gained[name], "+.3f") if gained else "" for name in TITLES),
                f"{row['thirty_degrees']:.2g}",
            ]
        )
    header = ["network", "seeds", "M MACs", *TITLES.values(), *(f"{title} − the first's" for title in TITLES.values())]
    return [
        f"The settings of the small release, and one of them changed at a time, each for {d['epochs']} epochs of "
        f"{d['patches']:,} patches from random weights: far from convergence, so only large differences count. "
        f"`{d['teacher']}` taught all but *labels alone*, by one view of each patch unless stated. INT8, the patch as "
        f"given, on valid's choosing half (n = {d['n']:,}), which also chose the epoch. 30°: the largest change of a "
        "logit on 256 patches, first seed.",
        "",
        *table([*header, "30°"], rows),
    ]
