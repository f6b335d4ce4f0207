"""The header ``Idempotency-Key``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from app.problems import InvalidParameter

NAME = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


async def _one(
    request: Request,
    value: Annotated[
        str | None,
        Header(
            alias=NAME,
            pattern=r"^[!-~]{1,128}$",
            description="1 to 128 visible ASCII characters: a repeat within 24 hours gets the first answer.",
        ),
    ] = None,
) -> str | None:
    if (times := len(request.headers.getlist(NAME))) > 1:
        raise InvalidParameter(f"The header {NAME} occurs {times} times: give it once.")
    return value


IdempotencyKey = Annotated[str | None, Depends(_one)]
