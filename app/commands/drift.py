"""``rosette drift``."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Column, Table

from app.commands.database import the_database
from app.commands.errors import readable_errors
from app.records.drift import Drift
from model_zoo.drift import FigureDrift


def drift() -> None:
    """Compare the answers of the last day and week with those that calibrated the model."""
    with readable_errors():
        report = Drift(the_database()).latest()
    if not report.models:
        typer.echo("No model of this database has answered within the last week.")
    for model in report.models:
        names = ("window", "figure", "predictions", "PSI", "expected", "verdict")
        table = Table(*names, Column("meaning", overflow="fold"), title=f"{model.name} {model.version}, {model.basis}")
        for window in model.windows:
            for figure in window.figures:
                table.add_row(window.window, *_cells(figure))
            table.add_row(window.window, "not assessable", f"{window.not_assessable} of {window.predictions}")
            table.add_section()
        Console().print(table)


def _cells(figure: FigureDrift) -> list[str]:
    numbers = ["" if value is None else f"{value:.3f}" for value in (figure.psi, figure.expected)]
    return [
        figure.figure.replace("_", " "),
        str(figure.predictions),
        *numbers,
        figure.verdict.replace("_", " "),
        figure.meaning,
    ]
