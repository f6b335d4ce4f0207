"""Request ids: the caller's if valid, else a new one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar

from uuid_utils import uuid7

HEADER = "X-Request-ID"

_NAME = HEADER.lower().encode()
_FIT = re.compile(rb"[A-Za-z0-9._-]{1,128}")

current: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current request; None outside of requests."""


def new() -> str:
    """The hexadecimal digits of a version 7 UUID."""
    return uuid7().hex


def accepted(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id in the only ``X-Request-ID`` of a request, if it is 1 to 128 of A-Z a-z 0-9 . _ -, or a new one.

    Args:
        headers: as in an ASGI scope, names in lower case.
    """
    presented = None
    for name, value in headers:
        if name == _NAME:
            if presented is not None:
                return new()
            presented = value
    return presented.decode("ascii") if presented and _FIT.fullmatch(presented) else new()
