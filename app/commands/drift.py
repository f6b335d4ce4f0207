"""``rosette drift``."""

from __future__ import annotations

import typer

from app.commands.database import the_database
from app.commands.errors import readable_errors
from app.records.drift import Drift
from model_zoo.drift import FigureDrift
from model_zoo.listing import AsJson, show, show_json


def drift(as_json: AsJson = False) -> None:
    """Compare the answers of the last day and week with those that calibrated the model."""
    with readable_errors():
        report = Drift(the_database()).latest()
    if as_json:
        show_json(report)
        return
    if not report.models:
        typer.echo("No model of this database has answered within the last week.")
    for model in report.models:
        rows: list[list[str]] = []
        for window in model.windows:
            rows += [[window.window, *_cells(figure)] for figure in window.figures]
            counted = f"{window.not_assessable} of {window.predictions}"
            rows.append([window.window, "not assessable", counted, "", "", "", ""])
        title = f"{model.name} {model.version}, {model.basis}"
        typer.echo(title)
        show(("window", "figure", "predictions", "PSI", "expected", "verdict", "meaning"), rows)


def _cells(figure: FigureDrift) -> list[str]:
    numbers = ["" if value is None else f"{value:.3f}" for value in (figure.psi, figure.expected)]
    return [
        figure.figure.replace("_", " "),
        str(figure.predictions),
        *numbers,
        figure.verdict.replace("_", " "),
        figure.meaning,
    ]
