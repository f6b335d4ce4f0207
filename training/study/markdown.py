"""Tables and intervals in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; vertical bars in cells, as in |w|, are escaped."""
    escaped = ([word.replace("|", r"\|") for word in row] for row in (header, *rows))
    first, *others = (f"| {' | '.join(row)} |" for row in escaped)
    return [first, "|" + "---|" * len(header), *others]


def cell(interval: Any, form: str = ".3f", scale: float = 1) -> str:
    """A figure with its interval, multiplied by ``scale`` and formatted by ``form``, such as ``"+.4f"``.

    Args:
        interval: a mapping with ``value``, ``low`` and ``high``.
    """
    value, low, high = (format(scale * interval[k], form) for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
