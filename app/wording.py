"""Pydantic's faults in words of people: what is allowed, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IDENTIFIER = r"^[A-Za-z0-9._-]{1,64}$"
SHA256 = r"^[0-9a-f]{64}$"
IDEMPOTENCY_KEY = r"^[!-~]{1,128}$"
MODEL = r"^[a-z0-9-]{1,64}$"
KEY_ID = r"^[A-Za-z0-9_-]{1,32}$"
SLIDE_ID = r"^[0-9a-f]{32}$"
RUN_ID = r"^[0-9a-f-]{32,36}$"
MONTH = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"
WITHOUT_NUL = r"^[^\x00]*$"

KEY_EXPECTED = "1 to 128 visible ASCII characters without spaces, such as a random UUID"

_EXPECTED = {
    IDENTIFIER: "1 to 64 letters A-Z and a-z, digits, dots, dashes and underscores: replace spaces and all other "
    "characters, such as by dashes",
    SHA256: "a SHA-256 as 64 hexadecimal digits, 0-9 and a-f in lower case: copy it whole",
    IDEMPOTENCY_KEY: KEY_EXPECTED,
    MODEL: "a model's name or SHA-256, 1 to 64 lower-case letters, digits and dashes: GET /admin/models lists them",
    KEY_ID: "a key's id, the 12 characters after rsk_: GET /admin/keys lists them",
    SLIDE_ID: "a slide's id of 32 hexadecimal digits: GET /slides lists them",
    RUN_ID: "a run's id of 32 hexadecimal digits and dashes: GET /runs lists them",
    MONTH: "a month of this century such as 2030-01",
    WITHOUT_NUL: "a text without the character NUL: remove it",
}


_TIME = "expected a time in ISO 8601 with its zone, such as 2030-01-31T12:00:00Z"
# By the kind of fault, with the values that pydantic gives of it.
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown: leave it out",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "uuid_parsing": "expected an id such as 01890a5d-ac96-774b-bcce-b302099a8057: copy it from an answer or a list",
    "enum": "expected {expected}",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected {ge} or more",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected {le} or less",
    "less_than": "expected less than {lt}",
    "string_too_long": "expected at most {max_length} characters",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}


def plain(fault: Mapping[str, Any]) -> str:
    """The message of one of pydantic's faults: what was expected."""
    kind, values = fault["type"], fault.get("ctx", {})
    if kind == "string_pattern_mismatch" and (expected := _EXPECTED.get(values["pattern"])):
        return f"expected {expected}"
    words = _WORDS.get(kind)
    return words.format(**values) if words else str(fault["msg"]).removeprefix("Value error, ")
