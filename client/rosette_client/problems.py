"""What can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True)
class Problem:
    """The server's problem (RFC 9457).

    Attributes:
        slug: its stable name, such as ``"wrong-size"``.
        detail: what was wrong and what to do, for people.
        index: which patch of a batch it was.
        extensions: further members.
    """

    slug: str
    status: int
    title: str
    detail: str
    index: int | None = None
    extensions: dict[str, Any] = field(default_factory=dict)


class RosetteError(Exception):
    """A request that got no answer."""


class ProblemError(RosetteError):
    """The server refused the request; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title} ({problem.status} {problem.slug}): {problem.detail}")
        self.problem = problem


class Unreachable(RosetteError):  # noqa: N818 - a state
    """No response came within the client's patience."""


def problem_of(raw: dict[str, Any]) -> Problem:
    """A problem from its JSON object."""
    known = {"type", "status", "title", "detail", "index"}
    return Problem(
        slug=str(raw["type"]).rpartition("/")[2],
        status=raw["status"],
        title=raw["title"],
        detail=raw["detail"],
        index=raw.get("index"),
        extensions={name: value for name, value in raw.items() if name not in known},
    )


def problem_in(response: httpx.Response) -> Problem:
    """The problem of a response, which a proxy may have written in place of the server."""
    try:
        return problem_of(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        text = response.text.strip()[:200] or "an empty response"
        return Problem("not-rosette", response.status_code, response.reason_phrase, f"No problem of Rosette's: {text}")
