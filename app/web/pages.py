"""Installs all pages."""

from __future__ import annotations

from fastapi import FastAPI

from app.web import acceptance, agreement, assets, audit, cases, diagnose, keys, login, models, slides, status


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the application."""
    for module in (assets, login, diagnose, slides, cases, models, acceptance, agreement, keys, audit, status):
        app.include_router(module.router)
