"""``/admin/keys``: who may come in."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.caller import Role
from app.access.dependencies import MayAdminister
from app.access.keys import NAME_LENGTH
from app.access.rotation import MAX_DAYS
from app.api import errors
from app.api.json_body import OF_JSON, JsonReader, described
from app.api.query import KnownParameters
from app.services import Services, services_of

router = APIRouter(prefix="/admin/keys", tags=["keys"])


class NewKeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Role
    name: str = Field(description=f"Which person or machine it is for: 1 to {NAME_LENGTH} printable characters.")
    expires_at: datetime | None = Field(
        default=None, description="From when on it opens nothing, with a time zone; null or missing for never."
    )


class RotationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    days: int = Field(7, ge=1, le=MAX_DAYS, description="For how long the old key is still valid.")


class Key(BaseModel):
    """What is known of a key, except the key; or of a person who signs in at an identity provider."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Of a key the 12 characters after `rsk_`.")
    role: Role
    name: str = Field(description="Which person or machine it is for.")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None = Field(description="Since when the key is revoked, or the person disabled.")
    issuer: str = Field(description="Where the person signs in; empty for a key.")
    subject: str = Field(description="The person's id there; empty for a key.")
    signed_in_at: datetime | None = Field(description="When the person last signed in; null for a key.")


class KeyMade(Key):
    """A new key."""

    key: str = Field(description="The key itself, shown this once.")


class KeyList(BaseModel):
    keys: list[Key] = Field(description="Oldest first.")


@router.get("", summary="List the keys", responses=errors.responses(*problems.ALWAYS))
async def list_keys(
    _: MayAdminister,
    __: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> KeyList:
    """Every key that was ever made, without the keys themselves."""
    entries = await services.io.run(services.keys.listing)
    return KeyList(keys=[Key.model_validate(entry) for entry in entries])


@router.post(
    "",
    summary="Make a key",
    status_code=201,
    openapi_extra=described(NewKeyRequest),
    responses=errors.responses(
        *problems.ALWAYS,
        *OF_JSON,
    ),
)
async def make_key(
    request: Request,
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
) -> KeyMade:
    """The key is shown in this answer and never again."""
    wanted = await JsonReader(NewKeyRequest, services.settings.body_timeout_s).parse(request)
    add = partial(services.keys.add, wanted.role, wanted.name, caller.actor, wanted.expires_at)
    return KeyMade.model_validate(await services.io.run(add))


@router.post(
    "/{key_id}/rotate",
    summary="Replace a key",
    status_code=201,
    openapi_extra=described(RotationRequest),
    responses=errors.responses(
        *problems.ALWAYS,
        *OF_JSON,
        problems.UnknownKey,
        problems.KeyRevoked,
        problems.KeyReplaced,
        problems.HasNoKey,
    ),
)
async def rotate_key(
    request: Request,
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    key_id: str,
) -> KeyMade:
    """A new key of the same role and name; the old one is valid beside it for `days`, and then ends."""
    wanted = await JsonReader(RotationRequest, services.settings.body_timeout_s).parse(request)
    rotate = partial(services.rotation.rotate, key_id, wanted.days, caller.actor)
    return KeyMade.model_validate(await services.io.run(rotate))


@router.post(
    "/{key_id}/revoke",
    summary="Revoke a key or disable a person",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownKey, problems.KeyRevoked, problems.LastAdminKey),
)
async def revoke_key(
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    key_id: str,
) -> Key:
    """The key or the person's sessions open nothing from now on; a key in other servers of the same database within 60
    seconds."""
    return Key.model_validate(await services.io.run(partial(services.keys.revoke, key_id, caller.actor)))


@router.post(
    "/{key_id}/enable",
    summary="Enable a disabled person",
    responses=errors.responses(*problems.ALWAYS, problems.UnknownKey, problems.PersonEnabled, problems.IsNoPerson),
)
async def enable_person(
    caller: MayAdminister,
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    key_id: str,
) -> Key:
    """The person can sign in again at the identity provider. Keys stay revoked."""
    return Key.model_validate(await services.io.run(partial(services.people.enable, key_id, caller.actor)))
