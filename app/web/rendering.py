"""Renders templates, with the headers of every page."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.access.caller import Caller, Role
from app.access.sessions import Session
from app.prefix import ROOT
from app.version import version
from app.web.assets import url
from app.web.strings import metric_name, t, titled
from model_zoo.notice import NOTICE
from model_zoo.reasons import outward

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# With no-referrer, which other responses carry, browsers would send forms with the origin "null".
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin", "Vary": "Cookie"}
NAVIGATION = (
    ("/", "nav.diagnose", {Role.PREDICT, Role.PATHOLOGIST}),
    ("/ui/slides", "nav.slides", {Role.PREDICT, Role.PATHOLOGIST, Role.READ, Role.REVIEW}),
    ("/cases", "nav.cases", {Role.PREDICT, Role.PATHOLOGIST, Role.READ, Role.REVIEW}),
    ("/ui/agreement", "nav.agreement", {Role.READ, Role.REVIEW}),
    ("/models", "nav.models", set[Role]()),
    ("/keys", "nav.keys", set[Role]()),
    ("/audit", "nav.audit", set[Role]()),
    ("/status", "nav.status", {Role.METRICS}),
)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:  # a manipulated row of the audit trail is shown as it is
        return str(text)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


class Rooted(Extension):
    """Prefixes every path in a template's attributes with the proxy's prefix, including computed paths."""

    _ATTRIBUTE = re.compile(r"""\b((?:href|action|src)=")(?=/|\{\{)""")

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return self._ATTRIBUTE.sub(r"\1{{ root() }}", source)


_environment = Environment(
    loader=PackageLoader("app.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[Rooted],
)
_environment.globals.update(
    root=ROOT.get,
    t=t,
    titled=titled,
    metric_name=metric_name,
    asset=url,
    notice=NOTICE,
    version=version(),
)
_environment.globals["outward"] = outward
_environment.filters.update(minute=_minute, pretty=_pretty, megabytes=_megabytes, gigabytes=_gigabytes)


def render(template: str, **context: Any) -> str:
    """The rendered template; every variable of the template must be given."""
    return _environment.get_template(template).render(**context)


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page with its frame: navigation, account, notice."""
    session: Session | None = getattr(request.state, "session", None)
    caller = session.caller if session else None
    frame = {
        "caller": caller,
        "csrf": session.csrf if session else "",
        "navigation": [(path, t(name)) for path, name, roles in NAVIGATION if may(caller, *roles)],
        "path": request.url.path,
    }
    return HTMLResponse(render(template, **frame | context), status_code=status, headers=HEADERS)


def fragment(template: str, status: int = 200, headers: dict[str, str] | None = None, **context: Any) -> Response:
    """A fragment of a page, for a script that inserts it."""
    return HTMLResponse(render(template, **context), status_code=status, headers=HEADERS | (headers or {}))


def may(caller: Caller | None, *roles: Role) -> bool:
    """Whether a caller has one of these roles, or is an admin."""
    return caller is not None and caller.role in {Role.ADMIN, *roles}
