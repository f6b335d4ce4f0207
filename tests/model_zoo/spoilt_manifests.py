"""Manifests in which one value, or some, are others than a publisher would write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]
Place = tuple[str | int, ...]

SPECIAL: list[object] = [
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    -1e308,
    5e-324,
    -1,
    0,
    1,
    0.5,
    2**63,
    10**400,
    True,
    None,
    "",
    "1",
    "x" * 100_000,
    "\0",
    "\ud800",
    "\u202e",
    [],
    [[]],
    {},
    {"x": float("nan")},
]
VALUES = st.one_of(
    st.sampled_from(SPECIAL),
    st.floats(),
    st.integers(),
    st.text(max_size=40),
    st.recursive(st.none() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)),
)


def leaves(value: object, place: Place = ()) -> Iterator[Place]:
    """Where values stand in a document; the parts that hold others are given too."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from leaves(part, (*place, key))


def first_leaves(document: Document) -> list[Place]:
    """All leaves but those of like parts: the first two of each list stand for the others."""
    return [place for place in leaves(document) if all(not isinstance(key, int) or key < 2 for key in place)]


def replaced(document: Document, place: Place, value: object) -> str:
    """The document as JSON with another value at a place; NaN and infinity as Python writes them."""
    copy = deepcopy(document)
    _put(copy, place, value)
    return json.dumps(copy)


@dataclass(frozen=True)
class Spoilt:
    """A manifest's text, which may be too long for hypothesis to show."""

    text: str = field(repr=False)


@st.composite
def changed(draw: st.DrawFn, origin: Callable[[], Document]) -> Spoilt:
    """A document as JSON with one to three values changed, mostly to others of their type.

    Args:
        origin: gives the document, whose own text would be too long for hypothesis to show.
    """
    document = origin()
    copy = deepcopy(document)
    places = first_leaves(document)
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        values = VALUES if draw(st.integers(0, 5)) == 5 else _like(_at(document, place))
        try:
            _put(copy, place, draw(values))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took away what holds this place
    return Spoilt(json.dumps(copy))


def _like(value: object) -> st.SearchStrategy[object]:
    """Values of the same type, close by or as a publisher might write; a part that holds others as it is, or empty."""
    match value:
        case bool():
            return st.booleans()
        case float():
            return st.floats(0.98, 1.02).map(lambda factor: value * factor) | st.floats(0, 1)
        case int():
            return st.integers(max(0, value - 3), value + 3) | st.integers(1, 10**9)
        case str():
            return st.text(max_size=80) | st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
        case list():
            return st.integers(0, len(value)).map(lambda length: value[:length])
        case dict():
            return st.booleans().map(lambda whole: value if whole else {})
        case _:
            return st.none()


def _at(document: Document, place: Place) -> object:
    part: Any = document
    for key in place:
        part = part[key]
    return part


def _put(document: Document, place: Place, value: object) -> None:
    part: Any = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = deepcopy(value)
