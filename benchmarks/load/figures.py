"""Figures of a run's rows, and how a page shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

Row = dict[str, Any]

RAW, DECODE = "onnxruntime alone", "onnxruntime and decoding"


def rows_of(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def paired(rows: Sequence[Row], first: str, second: str, figure: Callable[[Row, Row], float | None]) -> list[float]:
    """A figure of two contenders for each round that measured both."""
    seconds = {row["round"]: row for row in rows_of(rows, contender=second)}
    found = (figure(row, seconds[row["round"]]) for row in rows_of(rows, contender=first) if row["round"] in seconds)
    return [value for value in found if value is not None]


def share(key: str, factor: float = 1.0) -> Callable[[Row, Row], float | None]:
    def of(row: Row, other: Row) -> float | None:
        return factor * row[key] / other[key] if row[key] is not None and other[key] else None

    return of


def beyond(key: str) -> Callable[[Row, Row], float | None]:
    return lambda row, other: row[key] - other[key]


def middle(rows: Sequence[Row], key: str) -> float | None:
    found = [row[key] for row in rows if row.get(key) is not None]
    return median(found) if found else None


def interval(values: Sequence[float], form: str = ".2f") -> str:
    """The median with the least and the greatest."""
    if not values:
        return "—"
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def number(value: float | None, form: str = ".2f") -> str:
    return "—" if value is None else f"{value:,{form}}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    first, *others = (f"| {' | '.join(row)} |" for row in (header, *rows))
    return [first, "|" + "---|" * len(header), *others]
