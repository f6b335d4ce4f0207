"""Installs all pages."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from app.web import (
    acceptance,
    agreement,
    assets,
    audit,
    case,
    diagnose,
    keys,
    log,
    login,
    models,
    sign_in,
    slides,
    status,
    worklist,
)
from app.web.errors import http_error


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the application."""
    app.add_exception_handler(HTTPException, http_error)
    pages = (
        assets,
        login,
        sign_in,
        diagnose,
        slides,
        worklist,
        log,
        case,
        models,
        acceptance,
        agreement,
        keys,
        audit,
        status,
    )
    for module in pages:
        app.include_router(module.router)
