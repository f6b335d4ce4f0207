"""Checks of forms and script requests: size, origin and CSRF token."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from app.access.sessions import Session
from app.api.body import BoundedReader
from app.problems import Forbidden, InvalidForm

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_BYTES = 64 * 1024
FIELD, HEADER = "csrf", "X-CSRF-Token"


async def read_form(request: Request, timeout_s: float, *fields: str) -> dict[str, str]:
    """A form's fields; missing fields are empty.

    Raises:
        Forbidden: if it comes from another site, or does not carry the session's token.
        InvalidForm: if it has unknown or repeated fields.
        UnsupportedContentType, BodyTooLarge, BodyTooSlow, BodyIncomplete: if the body is not accepted.
    """
    _check_origin(request)
    reader = BoundedReader(MAX_BYTES, timeout_s, [MEDIA_TYPE], "write less")
    reader.check_headers(request)
    body = await reader.read(request)
    try:
        sent = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict")
    except ValueError as error:
        raise InvalidForm("The form cannot be read: load the page again.") from error
    found = dict(sent)
    if len(found) != len(sent) or not set(found) <= {FIELD, *fields}:
        raise InvalidForm(f"The form has the fields {', '.join(name for name, _ in sent)!r}: load the page again.")
    session: Session | None = getattr(request.state, "session", None)
    if session is not None:
        _check_token(session, found.get(FIELD, ""))
    return {name: found.get(name, "") for name in fields}


def check_script(request: Request) -> None:
    """Check that a script's request comes from a page of this session.

    Raises:
        Forbidden: if it does not.
    """
    _check_origin(request)
    _check_token(request.state.session, request.headers.get(HEADER, ""))


def _check_origin(request: Request) -> None:
    """Browsers state the site of a request; older ones, and plain HTTP, only the origin."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in {"same-origin", "none"}
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise Forbidden("The request comes from another site's page, so nothing was changed.")


def _check_token(session: Session, token: str) -> None:
    if not hmac.compare_digest(session.csrf.encode(), token.encode()):
        raise Forbidden("The page belongs to another session, so nothing was changed: load it again.")
