"""Bounds on the texts and the free-form parts of a manifest."""

from __future__ import annotations

from math import isfinite

from pydantic import JsonValue

MAX_DEPTH = 8
MAX_VALUES = 2000
MAX_TEXT = 4000
MAX_KEY = 64
MAX_INTEGER = 2**53  # larger integers are not portable in JSON


def check_printable(text: str) -> str:
    """Refuse control characters and surrogates, which databases and pages cannot represent.

    Raises:
        ValueError: naming the first such character.
    """
    for character in text:
        if not character.isprintable():
            raise ValueError(f"holds the unprintable character U+{ord(character):04X}")
    return text


def check_freeform(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse free-form JSON that is too large or too deep, or has numbers that are not JSON.

    Raises:
        ValueError: with the value found and the bound.
    """
    level: list[JsonValue] = [values]
    count = depth = 0
    while level:
        count, depth = count + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        if count > MAX_VALUES:
            raise ValueError(f"holds more than {MAX_VALUES:,} values")
        level = [inner for value in level for inner in _inside(value)]
    return values


def _inside(value: JsonValue) -> list[JsonValue]:
    match value:
        case dict():
            for key in value:
                if len(key) > MAX_KEY:
                    raise ValueError(f"holds a key of {len(key):,} characters, expected at most {MAX_KEY}")
                check_printable(key)
            return list(value.values())
        case list():
            return value
        case str():
            if len(value) > MAX_TEXT:
                raise ValueError(f"holds a text of {len(value):,} characters, expected at most {MAX_TEXT:,}")
            check_printable(value)
        case float():
            if not isfinite(value):
                raise ValueError(f"holds the number {value}, expected finite numbers")
        case int():
            if abs(value) > MAX_INTEGER:
                raise ValueError(f"holds an integer beyond ±{MAX_INTEGER:,}")
    return []
