"""Intervals of shares."""

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
