"""The header ``Idempotency-Key``."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header, Request

from app.problems import InvalidParameter

NAME = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

_PATTERN = r"^[!-~]{1,128}$"

# As the routes that take it describe it.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=NAME,
        pattern=_PATTERN,
        description="1 to 128 visible ASCII characters: a repeat within 24 hours gets the first answer.",
    ),
]


def idempotency_key_of(request: Request) -> str | None:
    """The header's value, if it is there.

    Raises:
        InvalidParameter: if it occurs more than once, or does not fit.
    """
    values = request.headers.getlist(NAME)
    if len(values) > 1:
        raise InvalidParameter(f"The header {NAME} occurs {len(values)} times: give it once.")
    if not values:
        return None
    if not re.fullmatch(_PATTERN, values[0]):
        raise InvalidParameter(f"The header {NAME} is not 1 to 128 visible ASCII characters.")
    return values[0]
