"""Intervals of shares, and agreement beyond chance."""

from __future__ import annotations

from math import sqrt

_Z95 = 1.959964


def wilson(successes: int, n: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a share (Wilson 1927); None for n = 0."""
    if n == 0:
        return None, None
    share, spread = successes / n, _Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def kappa(both: int, first: int, second: int, neither: int) -> float | None:
    """Cohen's kappa of two raters of two classes (Cohen 1960); None if one class alone was used, or nothing rated.

    Args:
        both: rated positive by both.
        first, second: rated positive by one of them alone.
        neither: rated negative by both.
    """
    n = both + first + second + neither
    if n == 0:
        return None
    by_chance = ((both + first) * (both + second) + (neither + first) * (neither + second)) / n**2
    return None if by_chance == 1 else ((both + neither) / n - by_chance) / (1 - by_chance)
