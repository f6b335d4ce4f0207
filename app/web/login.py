"""``/login`` and ``/logout``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.address import client_address
from app.access.caller import Caller
from app.access.gate import session_token
from app.access.sessions import COOKIE
from app.api.query import KnownParameters
from app.problems import TooManyTries, Unauthorized
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.paths import LOGIN, SIGN_IN, home, local
from app.web.rendering import HEADERS, page
from app.web.session_cookie import cookie_options, set_session
from app.web.sign_in import leave_provider
from app.web.strings import t

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(LOGIN)
async def login_page(
    request: Request,
    _: Annotated[None, Depends(KnownParameters("next", "ended", "out"))],
    next: str = "",  # noqa: A002 - the query parameter's usual name
    ended: str = "",
    out: str = "",
) -> Response:
    said = t("login.ended") if ended else t("login.out") if out else ""
    return _page(request, target=local(next), said=said, ended=bool(ended))


@router.post(LOGIN)
async def login(
    request: Request,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "key", "next")
    target = local(form["next"])
    try:
        caller = await services.lookup.caller(form["key"].strip().encode(), client_address(request.scope))
    except (Unauthorized, TooManyTries) as problem:
        return _refused(request, problem, target)
    token = await to_thread.run_sync(services.sessions.open, caller)
    if before := session_token(request.scope):  # also clear the cookie of this browser
        await to_thread.run_sync(services.sessions.close, before, caller.actor)
    response = RedirectResponse(target or home(caller), 303, headers=HEADERS)
    set_session(response, request, token)
    return response


@router.post("/logout")
async def logout(
    request: Request,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    caller: Caller = request.state.caller
    await to_thread.run_sync(services.sessions.close, session_token(request.scope), caller.actor)
    response = await leave_provider(request, services, caller) or RedirectResponse(
        f"{LOGIN}?out=1", 303, headers=HEADERS
    )
    response.delete_cookie(COOKIE, **cookie_options(request))
    return response


def _refused(request: Request, problem: Unauthorized | TooManyTries, target: str | None) -> Response:
    wrong = problem.detail
    if isinstance(problem, TooManyTries):
        wrong = t("login.wait", seconds=problem.headers["Retry-After"])
    response = _page(request, problem.status, target, wrong=wrong)
    if isinstance(problem, TooManyTries):
        response.headers["Retry-After"] = problem.headers["Retry-After"]
    return response


def _page(
    request: Request, status: int = 200, target: str | None = None, said: str = "", ended: bool = False, wrong: str = ""
) -> Response:
    settings = services_of(request).settings
    query = f"?{urlencode({'next': target})}" if target else ""
    at_provider = f"{SIGN_IN}{query}" if settings.oidc_issuer else ""
    shown = {"next": target or "", "said": said, "ended": ended, "wrong": wrong}
    return page(request, "login.html", status, at_provider=at_provider, label=settings.oidc_label, **shown)
