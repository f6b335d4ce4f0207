"""Refuse query parameters that a route does not know, and repeated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from urllib.parse import parse_qsl

from fastapi import Request

from app.problems import InvalidParameter


class KnownParameters:
    """A dependency that refuses every query parameter but those named, and each of them more than once."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def __call__(self, request: Request) -> None:
        query = request.scope["query_string"].decode("latin-1")
        check_names((name for name, _ in parse_qsl(query, keep_blank_values=True)), self.names)


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Judge the names of a request's parameters.

    Raises:
        InvalidParameter: if one is unknown or repeated.
    """
    for name, times in Counter(given).items():
        if name not in known:
            raise InvalidParameter(f"The query parameter {name!r} is unknown, expected: {', '.join(known) or 'none'}.")
        if times > 1:
            raise InvalidParameter(f"The query parameter {name!r} occurs {times} times: give it once.")
