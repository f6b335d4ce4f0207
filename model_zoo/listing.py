"""Listings of the ``rosette`` command: a table in a terminal, lines with tabs in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(names: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print rows; the first column is an id or a name, which is never broken.

    In a terminal, long texts of other columns are folded. In a pipe, each row is a line whose cells are separated by
    tabs, without anything cut off; the first line has the names.
    """
    if not sys.stdout.isatty():
        for row in (names, *rows):
            typer.echo("\t".join(map(_plain, row)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    first, *others = names
    table = Table(Column(first, no_wrap=True), *(Column(name, overflow="fold") for name in others), title=title or None)
    for row in rows:
        table.add_row(*(escape(_plain(cell)) for cell in row))
    Console().print(table)


def show_json(value: Any) -> None:
    """Print a value as JSON; times in ISO 8601."""
    typer.echo(json.dumps(value, indent=2, default=_converted))


def _converted(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _plain(cell: str) -> str:
    """A cell without tabs, line breaks and other control characters."""
    return "".join(each if each.isprintable() else " " for each in cell)
