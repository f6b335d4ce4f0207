"""``/login`` and ``/logout``."""

from __future__ import annotations

from typing import Annotated

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
from app.web.paths import LOGIN, home, local
from app.web.rendering import HEADERS, page
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
    return page(request, "login.html", next=local(next) or "", said=said, ended=bool(ended), wrong="")


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
    response.set_cookie(
        COOKIE,
        token,
        path=_cookie_path(services),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
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
    response = RedirectResponse(f"{LOGIN}?out=1", 303, headers=HEADERS)
    response.delete_cookie(
        COOKIE, path=_cookie_path(services), secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return response


def _cookie_path(services: Services) -> str:
    return services.settings.root_path or "/"


def _refused(request: Request, problem: Unauthorized | TooManyTries, target: str | None) -> Response:
    wrong = problem.detail
    if isinstance(problem, TooManyTries):
        wrong = t("login.wait", seconds=problem.headers["Retry-After"])
    response = page(request, "login.html", problem.status, next=target or "", said="", ended=False, wrong=wrong)
    if isinstance(problem, TooManyTries):
        response.headers["Retry-After"] = problem.headers["Retry-After"]
    return response
