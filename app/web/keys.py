"""``/keys``: list, create, replace and revoke keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayAdminister
from app.access.key_entry import KeyEntry, NewKey
from app.access.rotation import MAX_DAYS, check_replaceable, successor
from app.api.query import KnownParameters, chosen
from app.problems import InvalidParameter, KeyRevoked, UnknownKey
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.rendering import HEADERS, page
from app.web.strings import t

LONGEST_DAYS = 36_500
DAYS_BESIDE = "7"

router = APIRouter(prefix="/keys", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]
NoParameters = Annotated[None, Depends(KnownParameters())]


@router.get("")
async def list_keys(
    request: Request, caller: MayAdminister, _: Annotated[None, Depends(KnownParameters("done"))], services: TheServices
) -> Response:
    done = chosen(request, "done", ("revoked", "disabled", "enabled"))
    return await _keys_page(request, services, said=t(f"done.{done}") if done else "")


@router.post("")
async def make_key(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "name", "role", "days")
    try:
        role, expires_at = _role(form["role"]), _expiry(form["days"])
        made = await services.io.run(partial(services.keys.add, role, form["name"], caller.actor, expires_at))
    except InvalidParameter as problem:
        return await _keys_page(request, services, 422, wrong=problem.detail, form=form)
    return await _keys_page(request, services, made=made)


@router.get("/{key_id}/revoke")
async def ask_revoke(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, key_id: str
) -> Response:
    entry = await _entry(services, key_id)
    if entry.revoked_at:
        raise KeyRevoked(t("keys.revoked.before", name=entry.name, at=f"{entry.revoked_at:%Y-%m-%d %H:%M}"))
    return page(request, "revoke.html", entry=entry, own=entry.id == caller.key_id)


@router.post("/{key_id}/revoke")
async def revoke_key(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, key_id: str
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    entry = await services.io.run(partial(services.keys.revoke, key_id, caller.actor))
    done = "disabled" if entry.issuer else "revoked"
    return RedirectResponse(f"/keys?done={done}", 303, headers=HEADERS)


@router.post("/{key_id}/enable")
async def enable_person(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, key_id: str
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    await services.io.run(partial(services.people.enable, key_id, caller.actor))
    return RedirectResponse("/keys?done=enabled", 303, headers=HEADERS)


@router.get("/{key_id}/replace")
async def ask_replace(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, key_id: str
) -> Response:
    entry = await _entry(services, key_id)
    check_replaceable(entry, await services.io.run(services.keys.listing), services.keys.now())
    return _replace_page(request, entry, caller)


@router.post("/{key_id}/replace")
async def replace_key(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, key_id: str
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "days")
    entry = await _entry(services, key_id)
    try:
        days = _whole(form["days"].strip(), MAX_DAYS, t("keys.replace.days.wrong", most=MAX_DAYS))
        made = await services.io.run(partial(services.rotation.rotate, key_id, days, caller.actor))
    except InvalidParameter as problem:
        return _replace_page(request, entry, caller, problem.status, problem.detail, form["days"])
    old = await _entry(services, key_id)
    return await _keys_page(request, services, made=made, old=old)


async def _entry(services: Services, key_id: str) -> KeyEntry:
    entries = await services.io.run(services.keys.listing)
    entry = next((entry for entry in entries if entry.id == key_id), None)
    if entry is None:
        raise UnknownKey("There is no key with this id: the page Keys lists them.")
    return entry


def _replace_page(
    request: Request, entry: KeyEntry, caller: Caller, status: int = 200, wrong: str = "", days: str = DAYS_BESIDE
) -> Response:
    own = entry.id == caller.key_id
    return page(request, "replace.html", status, entry=entry, own=own, wrong=wrong, days=days, most_days=MAX_DAYS)


async def _keys_page(
    request: Request,
    services: Services,
    status: int = 200,
    said: str = "",
    wrong: str = "",
    form: dict[str, str] | None = None,
    made: NewKey | None = None,
    old: KeyEntry | None = None,
) -> Response:
    entries = await services.io.run(services.keys.listing)
    now = datetime.now(UTC)
    later = [entry for entry in entries if entry.person and entry.opens(now)]
    return page(
        request,
        "keys.html",
        status,
        said=said,
        wrong=wrong,
        form=form or {"name": "", "role": Role.PREDICT.value, "days": ""},
        made=made,
        old=old,
        roles=list(Role),
        replaced={entry.id for entry in entries if successor(entry, later, now)},
        keys=[(entry, _state(entry, now)) for entry in reversed(entries) if not entry.issuer],
        people=[entry for entry in reversed(entries) if entry.issuer],
        most_days=LONGEST_DAYS,
    )


def _state(entry: KeyEntry, now: datetime) -> str:
    if entry.revoked_at is not None:
        return "revoked"
    return "open" if entry.opens(now) else "expired"


def _role(text: str) -> Role:
    if text not in set(Role):
        raise InvalidParameter(t("keys.role.wrong"))
    return Role(text)


def _expiry(days: str) -> datetime | None:
    days = days.strip()
    if not days:
        return None
    return datetime.now(UTC) + timedelta(days=_whole(days, LONGEST_DAYS, t("keys.days.wrong")))


def _whole(days: str, most: int, wrong: str) -> int:
    if not (days.isascii() and days.isdecimal() and len(days) <= 5 and 1 <= int(days) <= most):
        raise InvalidParameter(wrong)
    return int(days)
