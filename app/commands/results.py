"""The output of ``rosette predict``: JSON lines, a table, CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.table import Column, Table

from app.diagnosis.report import NewAnswer
from app.records.exports import cell

CSV_COLUMNS = (
    *("file", "decision", "label", "probability", "basis", "probability_at_prevalence", "prevalence"),
    *("consistent", "max_deviation", "label_agreement", "exact", "shift_deviation", "reasons"),
    *("tissue_fraction", "sharpness", "stain_distance", "logit_no_metastasis", "logit_metastasis"),
    *("format", "microns_per_pixel", "patch_sha256", "model_name", "model_version", "model_sha256"),
    *("problem", "detail"),
)


@dataclass(frozen=True)
class Result:
    """The result for a file.

    Attributes:
        file: its path.
        answer: None if it was refused.
        problem: why it was refused, as problem+json; empty if it was not.
    """

    file: str
    answer: NewAnswer | None
    problem: dict[str, Any]


def write_json(results: Iterable[Result], out: TextIO) -> None:
    """One JSON object per line: the answer, or ``problem``, and ``file``."""
    for result in results:
        content = json.loads(result.answer.to_json()) if result.answer else {"problem": result.problem}
        print(json.dumps({"file": result.file} | content), file=out, flush=True)


def write_table(results: Iterable[Result], out: TextIO) -> None:
    """A table of the terminal's width."""
    decision = Column("decision", min_width=len("not_assessable"))
    figures = ("probability", "consistent", "deviation", "shifted", "reasons")
    table = Table(Column("file", overflow="fold"), decision, *(Column(name, overflow="fold") for name in figures))
    for result in results:
        table.add_row(result.file, *_cells(result))
    Console(file=out).print(table)


def write_csv(results: Iterable[Result], out: TextIO) -> None:
    """One row per file, in the order of ``CSV_COLUMNS``; null values are empty."""
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for result in results:
        values = dict(_values(result))
        writer.writerow([cell(values.get(name)) for name in CSV_COLUMNS])
        out.flush()


def _cells(result: Result) -> list[str]:
    answer = result.answer
    if answer is None:
        return ["refused", "", "", "", "", str(result.problem["title"])]
    consistency = answer.consistency
    return [
        answer.decision,
        "" if answer.probability is None else f"{answer.probability:.3f}",
        {True: "yes", False: "no", None: "not measured"}[consistency.consistent],
        f"{consistency.max_deviation:.3f}",
        "not measured" if answer.shifts is None else f"{answer.shifts.max_deviation:.3f}",
        _reasons(answer),
    ]


def _values(result: Result) -> Iterator[tuple[str, object]]:
    yield "file", result.file
    answer = result.answer
    if answer is None:
        yield "problem", str(result.problem.get("type", result.problem["title"])).removeprefix("/problems/")
        yield "detail", result.problem["detail"]
        return
    for part in (answer, answer.consistency, answer.quality, answer.patch):
        yield from ((name, getattr(part, name)) for name in CSV_COLUMNS if hasattr(part, name))
    yield "shift_deviation", None if answer.shifts is None else answer.shifts.max_deviation
    yield "reasons", _reasons(answer)
    yield from zip(("logit_no_metastasis", "logit_metastasis"), answer.logits, strict=True)
    yield "patch_sha256", answer.patch.sha256
    yield from ((f"model_{name}", getattr(answer.model, name)) for name in ("name", "version", "sha256"))


def _reasons(answer: NewAnswer) -> str:
    return " ".join(reason.text for reason in answer.reasons)
