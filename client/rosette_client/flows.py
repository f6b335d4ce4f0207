"""Requests and their repeats without the sending: both clients run the same flows.

A flow is a generator that yields a request, or seconds to wait, and is sent the response or the error of the transport.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import TypeAlias, TypeVar

import httpx

from rosette_client.problems import ProblemError, Unreachable, problem_in

T = TypeVar("T")

Step: TypeAlias = httpx.Request | float
Outcome: TypeAlias = httpx.Response | httpx.TransportError | None
Flow: TypeAlias = Generator[Step, Outcome, T]

# The server is busy, restarts, or is not there behind its proxy.
PASSING = frozenset({429, 502, 503, 504})
FIRST_S, LONGEST_S = 0.1, 5.0


@dataclass
class Patience:
    """How long a request is repeated: until a moment, with growing waits."""

    until: float
    tries: int = 0

    @classmethod
    def of(cls, seconds: float) -> Patience:
        return cls(monotonic() + seconds)

    def wait(self, at_least: float = 0) -> float | None:
        """Seconds before the next try; None if there is none."""
        longest = min(LONGEST_S, FIRST_S * 2**self.tries)
        self.tries += 1
        seconds = max(at_least, uniform(longest / 2, longest))  # noqa: S311 - spreads clients over time
        return seconds if monotonic() + seconds < self.until else None


def exchange(request: httpx.Request, patience: Patience) -> Flow[httpx.Response]:
    """A response that is no problem; requests that may succeed later are repeated.

    Raises:
        ProblemError: if the server refuses the request, or is busy for too long.
        Unreachable: if no response comes in time.
    """
    while True:
        outcome = yield request
        assert outcome is not None
        if isinstance(outcome, httpx.TransportError):
            if (seconds := patience.wait()) is None:
                raise Unreachable(
                    f"{request.url} did not answer: {str(outcome) or type(outcome).__name__}"
                ) from outcome
        elif outcome.status_code in PASSING:
            if (seconds := patience.wait(_retry_after(outcome))) is None:
                raise ProblemError(problem_in(outcome))
        elif not outcome.is_success:
            raise ProblemError(problem_in(outcome))
        else:
            return outcome
        yield seconds


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
