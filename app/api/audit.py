"""``GET /admin/audit``: who did what, and whether that record is whole."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from app import problems
from app.access.dependencies import RequireRole
from app.api import errors
from app.api.query import KnownParameters
from app.records.audit import AuditFilter, TrailHead, TrailPage
from app.services import Services, services_of
from app.wording import WITHOUT_NUL

MAX_LIMIT = 200
MAX_NUMBER = 2**63 - 1

Part = Annotated[str, Field(max_length=240, pattern=WITHOUT_NUL)]  # PostgreSQL compares no NUL

router = APIRouter(
    prefix="/admin/audit",
    tags=["audit"],
    dependencies=[Depends(RequireRole())],
    responses=errors.responses(*problems.ALWAYS),
)


class AuditEntry(BaseModel):
    """A row of the trail, its texts as they were hashed."""

    model_config = ConfigDict(from_attributes=True)

    number: int = Field(description="Counts from 1 without a gap.")
    at: str = Field(description="UTC, ISO 8601.")
    who: str = Field(
        description="`NAME (ID)` of a key or person, `settings` for the key in the settings, `shell:USER` for a "
        "command, `rosette` for the server itself; the identity provider's issuer for a person who is not known."
    )
    address: str = Field(description="Where the request came from; empty for a command.")
    action: str
    subject: str
    before: str | None = Field(description="What the subject was, as JSON text.")
    after: str | None = Field(description="What it became, as JSON text.")
    previous: str = Field(description="The hash of the row before; 64 zeros in the first.")
    hash: str = Field(
        description="SHA-256, in hexadecimal, of the JSON array of all the columns above in this order, "
        "in UTF-8 and without spaces."
    )


class AuditPage(BaseModel):
    """Rows of the trail."""

    model_config = ConfigDict(from_attributes=True)

    entries: list[AuditEntry] = Field(description="Newest first.")
    next: int | None = Field(description="The cursor of the next page; null on the last.")


class AuditHead(BaseModel):
    head: str | None = Field(description="`NUMBER:HASH` of the last row; null if there is none.")


class AuditVerification(AuditHead):
    whole: bool = Field(description="Whether every link holds.")
    rows: int = Field(description="Rows that fit, up to the first broken link.")
    head: str | None = Field(description="`NUMBER:HASH` of the last row that fits; null if there is none.")
    broken: str | None = Field(description="The first broken link in words; null if there is none.")


@router.get("", summary="List the audit trail", response_model=AuditPage)
async def list_audit(
    _: Annotated[None, Depends(KnownParameters("limit", "cursor", "action", "who", "subject"))],
    services: Annotated[Services, Depends(services_of)],
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="`next` of the page before.")] = None,
    action: Annotated[Part, Query(description="How the action begins, such as `model`.")] = "",
    who: Annotated[Part, Query(description="What the actor contains.")] = "",
    subject: Annotated[Part, Query(description="What the subject contains.")] = "",
) -> TrailPage:
    """Rows of the audit trail, newest first."""
    wanted = AuditFilter(action, who, subject)
    return await services.io.run(partial(services.audit.page, limit, cursor, wanted))


@router.get("/head", summary="Read the audit trail's head")
async def audit_head(
    _: Annotated[None, Depends(KnownParameters())], services: Annotated[Services, Depends(services_of)]
) -> AuditHead:
    """The last row's number and hash: kept elsewhere, they let `verify` find a cut tail."""
    return AuditHead(head=_text(await services.io.run(services.audit.head)))


@router.get("/verify", summary="Verify the audit trail")
async def verify_audit(
    _: Annotated[None, Depends(KnownParameters("head"))],
    services: Annotated[Services, Depends(services_of)],
    head: Annotated[str | None, Query(description="`NUMBER:HASH` that was kept elsewhere.")] = None,
) -> AuditVerification:
    """Walks the whole trail and names the first broken link: a row that was changed or removed.

    Without `head`, neither a cut tail nor a trail that was made anew can be found.
    """
    try:
        given = None if head is None else TrailHead.parse(head)
    except ValueError as error:
        raise problems.InvalidParameter(f"head: {error}.") from error
    found = await services.io.run(partial(services.audit.verify, given))
    return AuditVerification(whole=found.broken is None, rows=found.rows, head=_text(found.head), broken=found.broken)


def _text(head: TrailHead | None) -> str | None:
    return str(head) if head else None
