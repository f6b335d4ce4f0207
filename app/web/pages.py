"""Installs all pages."""

from __future__ import annotations

from fastapi import FastAPI

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


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the application."""
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
