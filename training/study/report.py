"""Writes docs/results.md with its tables and plots from the JSON files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from training.study import ablation, anchors, choices, consistency, cpus, plots, robustness
from training.study.markdown import cell, table
from training.study.results import Document, published_split, read

FIGURES = {
    "accuracy": "accuracy",
    "auc": "AUC",
    "sensitivity_at_95_specificity": "sens. at 95 % spec.",
    "brier": "Brier",
    "ece": "ECE",
    "area_under_risk_coverage": "area under risk–coverage",
}
COMPARED = {name: title for name, title in FIGURES.items() if name != "ece"}
PRECISIONS = {"int8": "INT8", "fp32": "float32"}
INTRODUCTION = """# Results

Everything below is written by

    rosette study report

from the JSON files in `docs/results/`, each of which states its command, commit, data and machine. Intervals are
95 %, by bootstrap over seeds and patches, paired where two networks are compared. **Patches of one slide are not
independent, and the slides are not known, so all intervals are too narrow.** `valid` and `test` are the first rows of
PCam's splits, class-balanced and mostly JPEG at quality 75 (n beside each table): these are not PCam's official scores.
Temperature and threshold are fitted on one half of valid; the other half chose the epoch. What was measured on
test was chosen on valid."""


def write(results: Path, page: Path) -> list[Path]:
    """Write the page and its plots; experiments without a JSON file are listed as not run.

    Returns:
        The files written.
    """
    sections: dict[str, tuple[str, Callable[[Document], list[str]]]] = {
        "anchors": ("The releases and their teachers", anchors.section),
        "grid": ("The grid", grid_section),
        "efficiency": ("Data efficiency", efficiency_section),
        "pareto": ("Cost against accuracy", pareto_section),
        "choices": ("Shape and teaching", choices.section),
        "ablation": ("Quantization", ablation.section),
        "cpus": ("Equal bits on other CPUs", cpus.section),
        "robustness": ("Robustness", robustness.section),
        "consistency": ("Consistency and batch norm", consistency.section),
        "table1": ("The paper's table 1", table1_section),
    }
    lines, files = [INTRODUCTION], []
    for name, (title, section) in sections.items():
        document = read(results, name)
        lines += ["", f"## {title}", ""]
        if document is None:
            lines.append(f"Not run: there is no `{name}.json`.")
            continue
        lines += [*section(document), "", _provenance(name, document)]
        if name in plots.PLOTS:
            files += plots.PLOTS[name](document, results)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [page, *files]


def _provenance(name: str, document: Document) -> str:
    versions: Any = document["versions"]
    return (
        f"*`{name}.json`: `{document['command']}`, commit `{document['commit']}`, {document['date']}, "
        f"{document['machine']}, {', '.join(f'{k} {v}' for k, v in versions.items())}.*"
    )


def grid_section(document: Any) -> list[str]:
    split, budget = published_split(document), document["budget"]
    n = document["n"][split]
    lines = [
        f"All networks have the same budget: the `{budget['topology']}` topology, {budget['epochs']} epochs of all "
        "training patches, the same recipe; all but the first with quarter turns, reflections and stain jitter. "
        f"Measured on **{split}** (n = {n:,}).",
        "",
    ]
    there = [row for row in document["rows"] if row["seeds"]]
    for precision, title in PRECISIONS.items():
        rows = [
            [row["name"], str(len(row["seeds"])), *(cell(row[precision][split][figure]) for figure in FIGURES)]
            for row in there
        ]
        rows += [[row["name"], "not run"] for row in document["rows"] if not row["seeds"]]
        lines += [f"**{title}**", "", *table(["network", "seeds", *FIGURES.values()], rows), ""]
    lines += _differences(document, split)
    lines += ["", "![Risk against coverage](results/risk-coverage.svg)", "", *_costs_and_turns(there)]
    return lines


def _differences(document: Any, split: str) -> list[str]:
    rows = [
        [f"{d['minuend']} − {d['subtrahend']}", title, *(cell(d[precision][split][f], "+.3f") for f in COMPARED)]
        for d in document["differences"]
        if d
        for precision, title in PRECISIONS.items()
    ]
    if not rows:
        return ["There are no differences before all equivariant networks of the grid are trained."]
    return [
        f"**Differences**, paired over patches. {document['best']} is the equivariant network with the highest AUC on "
        "valid, in INT8.",
        "",
        *table(["difference", "precision", *COMPARED.values()], rows),
    ]


def _costs_and_turns(rows: Any) -> list[str]:
    def change(value: float | None) -> str:
        return "—" if value is None else "0" if value == 0 else f"{value:.2g}"

    costs = [
        [
            row["name"],
            f"{row['size']['parameters']:,}",
            f"{row['size']['macs'] / 1e6:.1f}",
            f"{row['size']['int8_bytes'] / 1e6:.2f}",
            cell(row["latency_ms"], ".2f"),
        ]
        for row in rows
        if "latency_ms" in row
    ]
    turned = [
        [
            row["name"],
            title,
            "—" if c["equal_bits"] is None else f"{c['equal_bits']} of {c['patches']}",
            *(change(c[kind]) for kind in ("exact", "quarter", "thirty_degrees", "mirror")),
        ]
        for row in rows
        if "changes" in row
        for precision, title in PRECISIONS.items()
        for c in [row["changes"][precision]]
    ]
    return [
        "**Cost.** Latency of one patch in INT8 on one thread: median, and 2.5th and 97.5th percentile, of alternating "
        "blocks.",
        "",
        *table(["network", "parameters", "M MACs", "INT8 file, MB", "latency, ms"], costs),
        "",
        "**Turns**: patches with equal bits under all turns of the network's exact subgroup, and the largest change of "
        "a logit under these turns, 90°, 30° and a reflection (seed 0, validation patches).",
        "",
        *table(["network", "precision", "equal bits", "exact subgroup", "90°", "30°", "reflection"], turned),
    ]


def efficiency_section(document: Any) -> list[str]:
    split = published_split(document)
    rows = []
    for point in document["points"]:
        for name, row in point["rows"].items():
            figures = row["int8"][split] if row["seeds"] else {}
            shown = [cell(figures[f]) for f in ("accuracy", "auc")] if figures else ["not run", "not run"]
            delta = point["difference"]
            gain = cell(delta["int8"][split]["auc"], "+.3f") if delta and name == document["best"] else ""
            rows.append([f"{point['patches']:,}", str(point["epochs"]), name, str(len(row["seeds"])), *shown, gain])
    return [
        f"INT8, on {split} (n = {document['n'][split]:,}). Subsets are drawn by seed; smaller subsets are "
        "contained in larger ones.",
        "",
        *table(["patches", "epochs", "network", "seeds", "accuracy", "AUC", "ΔAUC, paired"], rows),
        "",
        "![AUC against training patches](results/efficiency.svg)",
    ]


def pareto_section(document: Any) -> list[str]:
    rows = [
        [
            row["name"],
            f"{row['size']['macs'] / 1e6:.1f}",
            f"{row['size']['parameters']:,}",
            cell(row["latency_ms"], ".2f"),
            cell(row["int8"]["valid"]["auc"]),
            cell(row["int8"]["valid"]["accuracy"]),
        ]
        for row in document["rows"]
        if row["seeds"]
    ]
    rows += [[row["name"], "not run"] for row in document["rows"] if not row["seeds"]]
    return [
        f"C12, INT8, {document['budget']['pareto_epochs']} epochs each, one seed, on valid "
        f"(n = {document['n']['valid']:,}): with this budget the larger networks are further from convergence.",
        "",
        *table(["network", "M MACs", "parameters", "latency, ms", "AUC", "accuracy"], rows),
        "",
        "![AUC against latency](results/pareto.svg)",
    ]


def table1_section(document: Any) -> list[str]:
    """Mean ± standard deviation over seeds, as in the paper."""

    def shown(shares: list[float]) -> str:
        spread = f" ± {100 * np.std(shares, ddof=1):.2f}" if len(shares) > 1 else ""
        return f"{100 * np.mean(shares):.2f}{spread}" if shares else "not run"

    rows = [
        [row["name"], str(len(row["seeds"])), *(shown(row["test_accuracy"][p]) for p in ("fp32", "int8"))]
        for row in document["rows"]
    ]
    return [
        f"Test accuracy in percent, {document['epochs']} epochs, n = {document['n']:,}; the paper, on all of PCam with "
        "300 epochs: 84.67 and 89.19 in float, 88.94 in INT8 (equivariant).",
        "",
        *table(["network", "seeds", "float32", "INT8"], rows),
    ]
