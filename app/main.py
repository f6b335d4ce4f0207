"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import CapacityLimiter, create_task_group, to_thread
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.access.dependencies import may_predict
from app.access.gate import Gate
from app.api import (
    acceptance,
    agreement,
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
    region_reviews,
    reviews,
    runs,
    slides,
    webhooks,
    worklist,
)
from app.api.admission import Slots
from app.api.edge import Edge
from app.api.v2 import infer, metadata
from app.prefix import Prefix
from app.records.audit_head import log_head
from app.records.retention import keep_no_longer
from app.services import Services
from app.settings import Settings
from app.version import version
from app.web import pages, paths
from app.web.errors import refused
from model_zoo.notice import NOTICE

OPEN_PATHS = ("/livez", "/readyz", *metadata.OPEN_PATHS)

# FastAPI would export to collectors that the environment names; Rosette calls nobody.
_SILENT: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class Application(FastAPI):
    """Rosette's routes behind two layers: an edge, and a gate."""

    def __init__(self, services: Services, **options: Any) -> None:
        super().__init__(**options)
        self._services = services

    def build_middleware_stack(self) -> ASGIApp:
        services, settings = self._services, self._services.settings
        inner = super().build_middleware_stack()
        assert isinstance(inner, ServerErrorMiddleware)  # the edge answers errors in its place
        direct = [(route, may_predict) for route in _routes(predict.router) + _routes(batch.router)]
        gate = Gate(
            inner.app,
            lookup=services.lookup,
            open_paths=OPEN_PATHS + paths.OPEN_PATHS + (docs.OPEN_PATHS if settings.docs else ()),
            is_page=paths.is_page,
            page_refused=refused,
            bodies=settings.uploads,
            direct=direct,
            check_room=services.pool.refuse_when_full,
        )
        app: ASGIApp = Edge(gate, services.metrics, services.tracing)
        if settings.root_path:
            app = Prefix(app, settings.root_path)
        if settings.trusted_proxies:
            app = ProxyHeadersMiddleware(app, settings.trusted_proxies)  # type: ignore[arg-type, assignment]
        return app


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
                tasks.start_soon(services.webhooks.run)
                yield
                tasks.cancel_scope.cancel()
        finally:
            await to_thread.run_sync(services.stop)

    app = Application(
        services,
        title="Rosette",
        version=version(),
        description=f"Classifies histopathology patches on an ordinary CPU. {NOTICE}",
        lifespan=lifespan,
        telemetry=_SILENT,
        generate_unique_id_function=lambda route: route.name,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.scrapes = CapacityLimiter(1)
    app.state.readiness = health.Readiness(services)
    app.state.patch_reader = predict.patch_reader(services.settings)
    app.state.batch_reader = batch.batch_reader(services.settings)
    app.state.batches = Slots(services.settings.batches)
    errors.install(app)
    for module in (
        predict,
        batch,
        exports,
        predictions,
        reviews,
        models,
        acceptance,
        keys,
        audit,
        drift,
        agreement,
        metrics,
        health,
        slides,
        runs,
        worklist,
        metadata,
        infer,
        region_reviews,
        webhooks,
    ):
        app.include_router(module.router)
    pages.install(app)
    app.openapi = partial(docs.describe, app, services.settings.root_path or "")  # type: ignore[method-assign]
    if services.settings.docs:
        docs.install(app, services.settings.root_path or "")
    return app


def _routes(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]
