"""Rows of result tables: one per name of cells, over all finished seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from training.data import Patches
from training.metrics import ScoredAnswers, difference, measure_seeds, risk_coverage
from training.study.cells import Cell
from training.study.measure import PRECISIONS, answers_of, latencies, size_of, turn_changes
from training.study.results import Document
from training.study.runner import finished

CURVE_POINTS = 25


class Table:
    """Measures the cells of an experiment.

    Args:
        cells: of the experiment; unfinished cells give rows marked as not run.
        runs: folder of the cells' run folders.
        splits: splits to measure on, by name; must include ``valid``, whose calibrating half is needed.
    """

    def __init__(self, cells: Sequence[Cell], runs: Path, splits: Mapping[str, Patches]) -> None:
        self.splits = splits
        self.folders: dict[str, list[Path]] = {}
        self.seeds: dict[str, list[int]] = {}
        self._answers: dict[tuple[str, str, str, bool], list[ScoredAnswers]] = {}
        for cell in cells:
            folder = finished(cell, runs)
            found, seeds = self.folders.setdefault(cell.name, []), self.seeds.setdefault(cell.name, [])
            if folder is not None:
                found.append(folder)
                seeds.append(cell.recipe.seed)

    def answers(self, name: str, precision: str, split: str, *, averaged: bool = False) -> list[ScoredAnswers]:
        """Answers of every finished seed of ``name``."""
        valid, key = self.splits["valid"], (name, precision, split, averaged)
        if key not in self._answers:
            self._answers[key] = [
                answers_of(folder, precision, valid, self.splits[split], averaged=averaged)
                for folder in self.folders[name]
            ]
        return self._answers[key]

    def figures(self, name: str, *, averaged: bool = False) -> Document:
        """Every figure with its interval, by precision and split, and risk–coverage curves."""
        document: Document = {}
        for precision in PRECISIONS:
            by_split: Document = {}
            for split, patches in self.splits.items():
                answers = self.answers(name, precision, split, averaged=averaged)
                figures: Document = {k: asdict(v) for k, v in measure_seeds(answers, patches.labels).items()}
                curves = [risk_coverage(a.probability, patches.labels, a.threshold) for a in answers]
                at = np.linspace(0, len(patches) - 1, CURVE_POINTS + 1).round().astype(int)[1:]
                figures["risk_coverage"] = np.mean(curves, 0)[at].round(5).tolist()
                by_split[split] = figures
            document[precision] = by_split
        return document

    def row(self, name: str) -> Document:
        """Figures, cost and changes under turns of one name."""
        folders = self.folders[name]
        if not folders:
            return {"name": name, "seeds": []}
        changes: dict[str, JsonValue] = {
            precision: asdict(turn_changes(folders[0], precision, self.splits["valid"])) for precision in PRECISIONS
        }
        return {
            "name": name,
            "seeds": list(self.seeds[name]),
            "size": asdict(size_of(folders[0])),
            "changes": changes,
            **self.figures(name),
        }

    def rows(self) -> list[Document]:
        """One row per name, with latencies measured in alternating blocks."""
        rows = [self.row(name) for name in self.folders]
        there = [row for row in rows if row["seeds"]]
        graphs = [self.folders[str(row["name"])][0] / "int8.onnx" for row in there]
        for row, latency in zip(there, latencies(graphs), strict=True):
            row["latency_ms"] = asdict(latency)
        return rows

    def difference(self, minuend: str, subtrahend: str) -> Document:
        """Difference between two names, by precision and split; empty if one has no finished seed."""
        if not self.folders[minuend] or not self.folders[subtrahend]:
            return {}
        document: Document = {"minuend": minuend, "subtrahend": subtrahend}
        for precision in PRECISIONS:
            by_split: Document = {}
            for split, patches in self.splits.items():
                first, second = (self.answers(name, precision, split) for name in (minuend, subtrahend))
                by_split[split] = {k: asdict(v) for k, v in difference(first, second, patches.labels).items()}
            document[precision] = by_split
        return document
