"""Installs all pages."""

from __future__ import annotations

from fastapi import FastAPI

from app.web import assets, audit, case, diagnose, keys, log, login, models, slides, status, worklist


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the application."""
    for module in (assets, login, diagnose, slides, worklist, log, case, models, keys, audit, status):
        app.include_router(module.router)
