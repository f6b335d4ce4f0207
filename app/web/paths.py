"""The paths of pages, and safe redirect targets."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.access.caller import Caller, Role

LOGIN, STATIC = "/login", "/static/"
SIGN_IN, SIGNED_IN, SIGNED_OUT = "/login/oidc", "/login/oidc/callback", "/login/oidc/out"
OPEN_PATHS = (LOGIN, STATIC, SIGN_IN, SIGNED_IN, SIGNED_OUT)

_PAGES = frozenset({"/", "/diagnose", "/logout", "/cases", "/models", "/acceptance", "/keys", "/audit", "/status"})
_UI = frozenset({"/ui/slides", "/ui/agreement", "/status/test-webhook"})
_BELOW = ("/cases/", "/models/", "/acceptance/", "/keys/", "/ui/slides/")
_LOCAL = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")


def is_page(path: str) -> bool:
    """Whether a path is a page, which needs a session."""
    return path in _PAGES or path in _UI or path.startswith(_BELOW)


def local(target: str) -> str | None:
    """The target, if it is the path and query of a page of this server; None for anything else."""
    # Browsers treat a backslash as a slash and drop control characters: refuse both, and a second slash.
    if not _LOCAL.fullmatch(target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc and is_page(parts.path) else None


def home(caller: Caller) -> str:
    """The start page of a caller."""
    match caller.role:
        case Role.PREDICT | Role.PATHOLOGIST | Role.ADMIN:
            return "/"
        case Role.READ | Role.REVIEW:
            return "/cases"
        case Role.METRICS:
            return "/status"
