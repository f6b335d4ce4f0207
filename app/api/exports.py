"""``GET /predictions/export.*``: recorded answers as files, streamed, and told in the audit trail."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from anyio import CancelScope
from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app import problems
from app.access.caller import Caller
from app.access.dependencies import MayExport
from app.api import errors
from app.api.edge import is_head
from app.api.filters import NAMES, Wanted
from app.api.query import KnownParameters
from app.records.audit import Actor, Event
from app.records.exports import CSV, JSONL, ExportChunk, Format, as_seen_by, piece
from app.records.filters import Filter
from app.services import Services, services_of

ACTION = "predictions.export"

router = APIRouter(prefix="/predictions", tags=["predictions"])
logger = logging.getLogger("rosette.audit")


class Export(StreamingResponse):
    """Sends one piece after the other; when that ends or breaks off, a row of the audit trail says how far it came.

    HEAD gets the headers: no further piece is read, and nothing is told, since no row leaves.
    """

    def __init__(self, services: Services, actor: Actor, file: Format, wanted: Filter, first: ExportChunk) -> None:
        self._services = services
        self._actor = actor
        self._file = file
        self._wanted = wanted
        self._rows = 0
        self._complete = False
        headers = {"Content-Disposition": f'attachment; filename="predictions.{file.suffix}"'}
        super().__init__(self._pieces(first), media_type=file.media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_head(scope):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self._services.io.resume(self._record)

    async def _pieces(self, following: ExportChunk) -> AsyncIterator[str]:
        yield self._file.head
        while True:
            self._rows += following.rows
            yield following.text
            if following.next is None:
                break
            read = partial(piece, self._services.predictions, self._file, self._wanted, following.next)
            following = await self._services.io.resume(read)
        self._complete = True

    def _record(self) -> None:
        after = {"filters": self._wanted.described(), "rows": self._rows, "complete": self._complete}
        try:
            self._services.audit.record(self._actor, Event(ACTION, self._file.suffix, after=after))
        except problems.RecordsUnavailable as problem:
            logger.error("An export by %s is not in the audit trail (%s): %s", self._actor.who, after, problem.detail)


def _described(file: Format) -> dict[str, Any]:
    return {
        "response_class": Response,
        "responses": errors.responses(*problems.ALWAYS)
        | {200: {"content": {file.media_type: {"schema": {"type": "string"}}}}},
    }


async def export(services: Services, caller: Caller, file: Format, wanted: Filter) -> Response:
    """The answers that fit and that the caller may read, as a file."""
    wanted = replace(wanted, scope=caller.scope)
    if caller.reads_blind:
        file = as_seen_by(caller.actor.reviewer, file)
    first = await services.io.run(partial(piece, services.predictions, file, wanted))
    return Export(services, caller.actor, file, wanted, first)


@router.get("/export.csv", summary="Export recorded answers as CSV", **_described(CSV))
async def export_csv(
    caller: MayExport,
    _: Annotated[None, Depends(KnownParameters(*NAMES))],
    services: Annotated[Services, Depends(services_of)],
    wanted: Wanted,
) -> Response:
    """The answers' columns, newest first; text that a spreadsheet would take for a formula gets an apostrophe."""
    return await export(services, caller, CSV, wanted)


@router.get("/export.jsonl", summary="Export recorded answers as JSON lines", **_described(JSONL))
async def export_jsonl(
    caller: MayExport,
    _: Annotated[None, Depends(KnownParameters(*NAMES))],
    services: Annotated[Services, Depends(services_of)],
    wanted: Wanted,
) -> Response:
    """Whole answers, one a line, newest first; those of earlier versions in today's shape."""
    return await export(services, caller, JSONL, wanted)
