"""``/login/oidc``: signing in and out at the identity provider."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.address import client_address
from app.access.caller import Caller
from app.access.gate import session_token
from app.api.query import KnownParameters
from app.oidc.attempt import COOKIE, LIFETIME_S
from app.oidc.sign_in import SignIn
from app.prefix import ROOT
from app.problems import InvalidParameter, Problem
from app.services import Services, services_of
from app.web.errors import PageRoute, problem_page
from app.web.paths import LOGIN, SIGN_IN, SIGNED_IN, SIGNED_OUT, home, local
from app.web.rendering import HEADERS, page
from app.web.session_cookie import cookie_options, set_session

router = APIRouter(include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]


@router.get(SIGN_IN)
async def begin(
    request: Request,
    _: Annotated[None, Depends(KnownParameters("next"))],
    services: TheServices,
    next: str = "",  # noqa: A002 - the query parameter's usual name
) -> Response:
    sign_in, target = services.sign_in, local(next) or ""
    # Only our own page begins a sign-in, so that no other site's page can sign a person in unasked.
    if sign_in is None or request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return RedirectResponse(LOGIN, 303, headers=HEADERS)
    address, cookie = await sign_in.begin(target, session_token(request.scope), _own(request, SIGNED_IN))
    response = RedirectResponse(address, 303, headers=HEADERS)
    response.set_cookie(COOKIE, cookie, max_age=LIFETIME_S, **cookie_options(request, SIGN_IN, "lax"))
    return response


@router.get(SIGNED_IN)
async def callback(request: Request, services: TheServices) -> Response:
    if services.sign_in is None:
        return RedirectResponse(LOGIN, 303, headers=HEADERS)
    try:
        response = await _signed_in(request, services, services.sign_in)
    except Problem as problem:
        response = problem_page(request, problem)
    response.delete_cookie(COOKIE, **cookie_options(request, SIGN_IN, "lax"))
    return response


@router.get(SIGNED_OUT)
async def signed_out() -> Response:
    """The provider comes back here, perhaps with parameters."""
    return RedirectResponse(f"{LOGIN}?out=1", 303, headers=HEADERS)


async def leave_provider(request: Request, services: Services, caller: Caller) -> Response | None:
    """The page that goes on to where the provider's session ends; None if there is none to end."""
    if services.sign_in is None or not caller.issuer:
        return None
    target = await services.sign_in.end(_own(request, SIGNED_OUT))
    request.state.session = None
    return page(request, "onward.html", target=target, out=True) if target else None


async def _signed_in(request: Request, services: Services, sign_in: SignIn) -> Response:
    sent = dict(request.query_params)
    if len(sent) != len(request.query_params.multi_items()):
        raise InvalidParameter("The identity provider's answer repeats a parameter: sign in again.")
    caller, attempt = await sign_in.finish(
        request.cookies.get(COOKIE, ""), sent, _own(request, SIGNED_IN), client_address(request.scope)
    )
    token = await to_thread.run_sync(services.sessions.open, caller)
    if attempt.before:  # the session cookie does not come with a request from the provider's page
        await to_thread.run_sync(services.sessions.close, attempt.before, caller.actor)
    # Nor would it come with a redirect: the browser leaves from a page of ours.
    target = ROOT.get() + (local(attempt.target) or home(caller))
    response = page(request, "onward.html", target=target, out=False)
    set_session(response, request, token)
    return response


def _own(request: Request, path: str) -> str:
    """The address of a page of this server, as this browser reaches it and as the provider knows it."""
    return f"{request.url.scheme}://{request.url.netloc}{ROOT.get()}{path}"
