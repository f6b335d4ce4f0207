"""Listings of the ``rosette`` command: a table in a terminal, lines with tabs in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Cell = str | datetime | None

_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"


def show(names: Sequence[str], rows: Iterable[Sequence[Cell]], title: str = "", whole: Collection[str] = ()) -> None:
    """Print rows; the first column, those that ``whole`` names, and times are never broken.

    In a terminal, long texts of other columns are folded; where the table is wider than the terminal, times are shown
    as days, and there are no spaces beside the lines. In a pipe, each row is a line whose cells are separated by tabs,
    without anything cut off; the first line has the names.
    """
    listed = [tuple(row) for row in rows]
    if not sys.stdout.isatty():
        for row in (tuple(names), *listed):
            typer.echo("\t".join(_text(cell, _MINUTE) for cell in row))
        return
    from rich.console import Console

    console = Console()
    table = _table(names, listed, title, whole, narrow=False)
    if console.measure(table, options=console.options.update(width=10_000)).maximum > console.width:
        table = _table(names, listed, title, whole, narrow=True)
    console.print(table)


def show_json(value: Any) -> None:
    """Print a value as JSON; times in ISO 8601."""
    typer.echo(json.dumps(value, indent=2, default=_converted))


def _table(
    names: Sequence[str], rows: Sequence[Sequence[Cell]], title: str, whole: Collection[str], narrow: bool
) -> Table:
    from rich.markup import escape
    from rich.table import Column, Table

    times = {names[number] for row in rows for number, cell in enumerate(row) if isinstance(cell, datetime)}
    unbroken = {names[0], *times, *whole}
    columns = (Column(name, no_wrap=name in unbroken, overflow="fold") for name in names)
    table = Table(*columns, title=title or None, padding=(0, 0 if narrow else 1))
    for row in rows:
        table.add_row(*(escape(_text(cell, _DAY if narrow else _MINUTE)) for cell in row))
    return table


def _converted(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _text(cell: Cell, time: str) -> str:
    """A cell without tabs, line breaks and other control characters."""
    text = f"{cell:{time}}" if isinstance(cell, datetime) else cell or ""
    return "".join(each if each.isprintable() else " " for each in text)
