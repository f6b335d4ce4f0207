"""The cookie of a browser's session."""

from __future__ import annotations

from typing import Literal, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from app.access.sessions import COOKIE
from app.prefix import ROOT


class CookieOptions(TypedDict):
    """Options with which a cookie is set, and deleted."""

    path: str
    secure: bool
    httponly: bool
    samesite: Literal["lax", "strict", "none"]


def cookie_options(request: Request, path: str = "/", samesite: Literal["lax", "strict"] = "strict") -> CookieOptions:
    """The options of a cookie that no script reads, below a path of this server."""
    below = f"{ROOT.get()}{path}" if path != "/" else ROOT.get() or "/"
    return {"path": below, "secure": request.url.scheme == "https", "httponly": True, "samesite": samesite}


def set_session(response: Response, request: Request, token: str) -> None:
    """Give the browser its session."""
    response.set_cookie(COOKIE, token, **cookie_options(request))
