"""Plots of results, as deterministic SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.study.results import published_split

STYLE: Any = {
    "svg.hashsalt": "rosette",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def _drawn(file: Path, x: str, y: str, draw: Callable[[Axes], None]) -> Path:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
        axes = figure.subplots()
        draw(axes)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        figure.savefig(file, metadata={"Date": None})
    return file


def _errors(intervals: list[Any]) -> tuple[list[float], list[list[float]]]:
    values = [i["value"] for i in intervals]
    return values, [[i["value"] - i["low"] for i in intervals], [i["high"] - i["value"] for i in intervals]]


def risk_coverage(document: Any, folder: Path) -> list[Path]:
    """Share of wrong answers by the share of answered patches, most confident first."""

    def draw(axes: Axes) -> None:
        for row in document["rows"]:
            if row["seeds"]:
                risk = row["int8"][published_split(document)]["risk_coverage"]
                coverage = np.arange(1, len(risk) + 1) / len(risk)
                axes.plot(coverage, risk, label=row["name"], linewidth=2.5 if row["name"] == document["best"] else 1.2)
        axes.legend(fontsize=8)

    label = f"share of wrong answers ({published_split(document)}, INT8)"
    return [_drawn(folder / "risk-coverage.svg", "share of patches answered, surest first", label, draw)]


def efficiency(document: Any, folder: Path) -> list[Path]:
    """AUC by the number of training patches."""

    def draw(axes: Axes) -> None:
        names = list(document["points"][0]["rows"]) if document["points"] else []
        for shift, name in zip((0.97, 1.03), names, strict=True):
            points = [p for p in document["points"] if p["rows"][name]["seeds"]]
            values, errors = _errors([p["rows"][name]["int8"][published_split(document)]["auc"] for p in points])
            axes.errorbar([shift * p["patches"] for p in points], values, errors, marker="o", capsize=3, label=name)
        axes.set_xscale("log")
        sizes = [p["patches"] for p in document["points"]]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.legend()

    return [_drawn(folder / "efficiency.svg", "training patches", f"AUC ({published_split(document)}, INT8)", draw)]


def pareto(document: Any, folder: Path) -> list[Path]:
    """AUC by latency."""

    def draw(axes: Axes) -> None:
        rows = [row for row in document["rows"] if row["seeds"]]
        values, errors = _errors([row["int8"]["valid"]["auc"] for row in rows])
        latency, spread = _errors([row["latency_ms"] for row in rows])
        axes.errorbar(latency, values, errors, spread, fmt="o", capsize=3)
        for row, x, y in zip(rows, latency, values, strict=True):
            label = f"{row['name']} ({row['size']['macs'] / 1e6:.0f} M MACs)"
            axes.annotate(label, (x, y), xytext=(6, 6), textcoords="offset points", fontsize=8)
        axes.margins(x=0.25)

    return [_drawn(folder / "pareto.svg", "INT8 latency at one thread, ms", "AUC (valid, INT8)", draw)]


PLOTS: dict[str, Callable[[Any, Path], list[Path]]] = {
    "grid": risk_coverage,
    "efficiency": efficiency,
    "pareto": pareto,
}
