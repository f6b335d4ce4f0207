"""The experiments that train: the grid, data efficiency, the Pareto front, the paper's table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from training.data import Patches, load
from training.metrics import auc
from training.study import cells
from training.study.cells import Cell, Tier
from training.study.measure import answers_of
from training.study.results import Document, provenance
from training.study.runner import finished
from training.study.table import Table


def splits(data: Path, *, test: bool) -> dict[str, Patches]:
    """The validation patches, and optionally the test patches."""
    return {"valid": load(data, "valid")} | ({"test": load(data, "test")} if test else {})


def best_equivariant(tier: Tier, runs: Path, valid: Patches) -> str | None:
    """The equivariant network of the grid with the highest validation AUC in INT8, or None before all are trained."""
    scores: dict[str, float] = {}
    for cell in cells.grid(tier):
        folder = finished(cell, runs)
        if cell.name in cells.EQUIVARIANT:
            if folder is None:
                return None
            scores[cell.name] = auc(answers_of(folder, "int8", valid, valid).probability, valid.labels)
    return max(scores, key=scores.__getitem__)


def _header(tier: str, measured: dict[str, Patches]) -> Document:
    return {
        **provenance({name: patches.sha256 for name, patches in measured.items()}),
        "tier": tier,
        "budget": asdict(cells.TIERS[tier]),
        "n": {name: len(patches) for name, patches in measured.items()},
    }


def grid(tier: str, runs: Path, data: Path, *, test: bool) -> Document:
    """All networks of the grid, INT8 and float32, and the differences of the best equivariant one to the others."""
    measured, budget = splits(data, test=test), cells.TIERS[tier]
    best = best_equivariant(budget, runs, measured["valid"])
    table = Table(cells.grid(budget) + (cells.more_seeds(budget, best) if best else []), runs, measured)
    rows = table.rows()
    if table.folders[cells.AUGMENTED]:
        source = next(row for row in rows if row["name"] == cells.AUGMENTED)
        averaged: Document = {**source, "name": cells.AVERAGED, **table.figures(cells.AUGMENTED, averaged=True)}
        averaged.pop("changes")
        rows.insert(rows.index(source) + 1, averaged)
    others = [cells.CONVENTIONAL, *(name for name in cells.EQUIVARIANT if name != best), cells.PAPER]
    differences: list[JsonValue] = []
    if best:
        differences = [table.difference(best, name) for name in (cells.AUGMENTED, *others)]
    return {**_header(tier, measured), "best": best, "rows": list(rows), "differences": differences}


def data_efficiency(tier: str, runs: Path, data: Path, *, test: bool) -> Document:
    """The best equivariant and the conventional network on fewer patches."""
    measured, budget = splits(data, test=test), cells.TIERS[tier]
    best = best_equivariant(budget, runs, measured["valid"])
    points: list[JsonValue] = []
    if best:
        planned = cells.data_efficiency(budget, best)
        for patches, epochs in budget.sizes:
            table = Table([cell for cell in planned if cell.recipe.patches == patches], runs, measured)
            rows: Document = {
                name: {"seeds": list(table.seeds[name]), **table.figures(name)}
                if table.folders[name]
                else {"seeds": []}
                for name in table.folders
            }
            points.append(
                {
                    "patches": patches or len(load(data, "train")),
                    "epochs": epochs,
                    "rows": rows,
                    "difference": table.difference(best, cells.AUGMENTED),
                }
            )
    return {**_header(tier, measured), "best": best, "points": points}


def pareto(tier: str, runs: Path, data: Path) -> Document:
    """C12 networks by cost, on validation patches."""
    measured = splits(data, test=False)
    return {**_header(tier, measured), "rows": list(Table(cells.pareto(cells.TIERS[tier]), runs, measured).rows())}


def table1(planned: Sequence[Cell], runs: Path, data: Path) -> Document:
    """The paper's table 1: accuracy on test, float and INT8, mean and deviation over seeds."""
    measured = splits(data, test=True)
    table = Table(planned, runs, measured)
    rows: list[JsonValue] = []
    for name in table.folders:
        by_precision: Document = {}
        for precision in ("fp32", "int8"):
            answers = table.answers(name, precision, "test")
            correct = [((a.probability >= a.threshold) == measured["test"].labels).mean() for a in answers]
            by_precision[precision] = [float(share) for share in correct]
        rows.append({"name": name, "seeds": list(table.seeds[name]), "test_accuracy": by_precision})
    header = provenance({name: patches.sha256 for name, patches in measured.items()})
    return {**header, "epochs": planned[0].recipe.epochs, "n": len(measured["test"]), "rows": rows}
