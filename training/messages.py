"""What a long command says to a person who waits."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Write a line to standard error, where it does not mix with a command's results."""
    print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time for people, such as ``"1 h 05 min"``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
