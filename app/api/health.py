"""``/livez`` and ``/readyz``, open to everybody and cheap however often they are asked."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Annotated, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from app import problems
from app.api import errors
from app.api.query import KnownParameters
from app.services import Services, services_of

router = APIRouter(tags=["health"])

CACHE_S = 1.0
PATIENCE_S = 3.0


class Alive(BaseModel):
    status: str = "alive"


class Ready(BaseModel):
    status: Literal["ready", "degraded"] = "ready"
    detail: str = Field(
        "", description="Why the server is degraded: such as a model that was activated and failed here."
    )
    model: str
    version: str
    sha256: str


class Readiness:
    """What is not ready, found out at most once a second however many ask at once.

    The check has a thread of its own, so that busy workers do not make a server look dead.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limiter = CapacityLimiter(1)
        self._lock = asyncio.Lock()
        self._until = -1.0
        self._checking: asyncio.Future[str] | None = None
        self._failed: dict[str, str] = {}
        self._degraded = ""

    async def failed(self) -> dict[str, str]:
        """The parts that are not ready, each with the reason."""
        async with self._lock:
            if monotonic() >= self._until:
                await self._find_out()
                self._until = monotonic() + CACHE_S
            # Whether answers can be recorded is asked at once, as it is for each patch.
            refusal = self._services.writer.refusal
            return self._failed | ({"records": refusal} if refusal else {})

    async def _find_out(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(
                to_thread.run_sync(self._services.writer.check, limiter=self._limiter)
            )
        done, _ = await asyncio.wait({self._checking}, timeout=PATIENCE_S)
        trouble = self._checking.result() if done else "The database is unavailable."
        self._failed = await to_thread.run_sync(self._judge, trouble)

    @property
    def degraded(self) -> str:
        """Why records go to the journal, as of the last check; empty if they do not."""
        return self._degraded

    def _judge(self, trouble: str) -> dict[str, str]:
        failed = {}
        self._degraded = ""
        if self._services.serving.state.model is None:
            failed["model"] = self._services.model_error
        if not self._services.pool.alive:
            failed["inference"] = "no inference process runs: see the log"
        if trouble:
            writer = self._services.writer
            writer.check_journal()
            self._degraded = f"answers go to the journal, {writer.backlog.size} so far: {trouble}"
        return failed


def readiness_of(request: Request) -> Readiness:
    readiness: Readiness = request.app.state.readiness
    return readiness


@router.get(
    "/livez",
    summary="Is the process alive?",
    responses=errors.responses(problems.InvalidParameter, problems.Busy),
)
async def livez(_: Annotated[None, Depends(KnownParameters())]) -> Alive:
    """Answers as long as the event loop runs."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can patches be answered?",
    responses=errors.responses(problems.InvalidParameter, problems.Busy, problems.NotReady),
)
async def readyz(
    _: Annotated[None, Depends(KnownParameters())],
    services: Annotated[Services, Depends(services_of)],
    readiness: Annotated[Readiness, Depends(readiness_of)],
) -> Ready:
    """A model is loaded, its golden cases matched, and records can be taken; found out at most once a second."""
    failed = await readiness.failed()
    if failed:
        raise problems.NotReady("; ".join(f"{part}: {why}" for part, why in failed.items()), failed=sorted(failed))
    model = services.model
    detail = "; ".join(filter(None, (services.model_error, readiness.degraded)))
    return Ready(
        status="degraded" if detail else "ready",
        detail=detail,
        model=model.manifest.name,
        version=model.manifest.version,
        sha256=model.sha256,
    )
