"""Query parameters: those that a route does not know are refused, and repeated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.problems import InvalidParameter
from app.wording import plain

Parameters = TypeVar("Parameters", bound=BaseModel)


class KnownParameters:
    """A dependency that refuses every query parameter but those named, and each of them more than once."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def __call__(self, request: Request) -> None:
        query = request.scope["query_string"].decode("latin-1")
        check_names((name for name, _ in parse_qsl(query, keep_blank_values=True)), self.names)


def check_names(given: Iterable[str], known: Collection[str], kind: str = "query parameter") -> None:
    """Judge the names of a request's parameters.

    Raises:
        InvalidParameter: if one is unknown or repeated.
    """
    for name, times in Counter(given).items():
        if name not in known:
            raise InvalidParameter(f"The {kind} {name!r} is unknown, expected: {', '.join(known) or 'none'}.")
        if times > 1:
            raise InvalidParameter(f"The {kind} {name!r} occurs {times} times: give it once.")


def chosen(request: Request, name: str, choices: Collection[str]) -> str:
    """The value of a query parameter, one of these; empty if it was not given.

    Raises:
        InvalidParameter: if it is another.
    """
    value = request.query_params.get(name, "")
    if value and value not in choices:
        raise InvalidParameter(f"The query parameter {name!r} is {value[:64]!r}, expected: {', '.join(choices)}.")
    return value


def faults_of(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """What pydantic found wrong, each with its place."""
    return [f"{'.'.join(map(str, each['loc']))}: {plain(each)}" for each in errors]


def query_parser(model: type[Parameters]) -> Callable[[bytes], Parameters]:
    """What makes a model of a query string, and remembers the last ones.

    It raises InvalidParameter if a parameter is unknown, repeated or does not fit.
    """

    @lru_cache(256)
    def parse(text: bytes) -> Parameters:
        pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True)
        check_names((name for name, _ in pairs), model.model_fields)
        return _validated(model, dict(pairs), "query")

    return parse


def parsed(model: type[Parameters], given: dict[str, Any]) -> Parameters:
    """Parameters that stood in a body.

    Raises:
        InvalidParameter: if one is unknown or does not fit.
    """
    check_names(list(given), model.model_fields, "parameter")
    return _validated(model, given, "parameters")


def _validated(model: type[Parameters], given: dict[str, Any], where: str) -> Parameters:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = [f"{where}.{fault}" for fault in faults_of(error.errors())]
        raise InvalidParameter("; ".join(found)) from error
