"""Every page, put together."""

from __future__ import annotations

from fastapi import FastAPI

from app.web import assets, diagnose, login


def install(app: FastAPI) -> None:
    """Serve the pages and their files."""
    for module in (assets, login, diagnose):
        app.include_router(module.router)
