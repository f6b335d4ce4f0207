"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio import CapacityLimiter, create_task_group, to_thread
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.access.guard import Guard
from app.api import (
    audit,
    batch,
    docs,
    drift,
    errors,
    exports,
    health,
    keys,
    metrics,
    models,
    predict,
    predictions,
    reviews,
    runs,
    slides,
)
from app.api.connection import Connection
from app.api.head import Head
from app.api.observation import Failures, Observation
from app.api.thin import Admission, Shortcut
from app.prefix import Prefix
from app.records.retention import keep_no_longer
from app.records.witness import log_head
from app.services import Services
from app.settings import Settings
from app.version import version
from app.web import pages, paths
from app.web.errors import refused
from model_zoo.notice import NOTICE

OPEN_PATHS = ("/livez", "/readyz")

# FastAPI would export to collectors that the environment names; Rosette calls nobody.
_SILENT: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The server's application; its lifespan prepares the home folder, the database, the key and the model.

    Args:
        settings: by default those of the environment.

    Raises:
        pydantic.ValidationError: if the environment's settings do not fit.
        ValueError: if the database's URL does not.
    """
    services = Services(settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(services.start)
        try:
            async with services.pool.attached(), create_task_group() as tasks:
                tasks.start_soon(services.shadow.run)
                tasks.start_soon(log_head, services.audit)
                tasks.start_soon(keep_no_longer, services.retention)
                yield
                tasks.cancel_scope.cancel()
        finally:
            await to_thread.run_sync(services.stop)

    app = FastAPI(
        title="Rosette",
        version=version(),
        description=f"Classifies histopathology patches on an ordinary CPU. {NOTICE}",
        lifespan=lifespan,
        telemetry=_SILENT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.scrapes = CapacityLimiter(1)
    app.state.readiness = health.Readiness(services)
    errors.install(app)
    for module in (
        predict,
        batch,
        exports,
        predictions,
        reviews,
        models,
        keys,
        audit,
        drift,
        metrics,
        health,
        slides,
        runs,
    ):
        app.include_router(module.router)
    pages.install(app)
    app.openapi = partial(docs.describe, app, services.settings.root_path or "")  # type: ignore[method-assign]
    if services.settings.docs:
        docs.install(app, services.settings.root_path or "")
    app.add_middleware(Shortcut)
    app.add_middleware(
        Guard,
        lookup=services.lookup,
        open_paths=OPEN_PATHS + paths.OPEN_PATHS + (docs.OPEN_PATHS if services.settings.docs else ()),
        is_page=paths.is_page,
        page_refused=refused,
    )
    app.add_middleware(Failures)
    app.add_middleware(
        Admission,
        routes=[*predict.router.routes, *batch.router.routes],
        check=services.pool.refuse_when_full,
    )
    app.add_middleware(Head)
    app.add_middleware(Connection, uploads=services.settings.uploads)
    app.add_middleware(Observation, metrics=services.metrics, tracing=services.tracing)
    if root := services.settings.root_path:
        app.add_middleware(Prefix, root=root)
    if services.settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=services.settings.trusted_proxies)
    return app
