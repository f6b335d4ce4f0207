"""Which paths are pages, and where a browser may be sent."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.access.caller import Caller, Role

LOGIN, STATIC = "/login", "/static/"
OPEN_PATHS = (LOGIN, STATIC)

_PAGES = frozenset({"/", "/diagnose", "/logout", "/cases", "/models", "/keys", "/audit", "/status", "/ui/slides"})
_BELOW = ("/cases/", "/models/", "/keys/", "/ui/slides/")
_LOCAL = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")


def is_page(path: str) -> bool:
    """Whether a path is a page's, and so for browsers that have signed in."""
    return path in _PAGES or path.startswith(_BELOW)


def local(target: str) -> str | None:
    """The target, if it is the path and query of a page here; None for whatever else, such as another host's page."""
    # Browsers take a backslash for a slash and drop control characters: neither is let through, nor a second slash.
    if not _LOCAL.fullmatch(target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc and is_page(parts.path) else None


def home(caller: Caller) -> str:
    """The first page that a caller may see."""
    match caller.role:
        case Role.PREDICT | Role.ADMIN:
            return "/"
        case Role.READ | Role.REVIEW:
            return "/cases"
        case Role.METRICS:
            return "/status"
