"""Every error is a problem, and never a stack trace."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app import problems
from app.access.caller import Role
from app.main import create_app
from app.problem_response import response_of
from app.settings import Settings
from tests.app.conftest import TESTER, assert_problem


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """The application without its server, with a route that fails."""
    application = create_app(Settings(home=tmp_path, model=tmp_path / "none"))

    async def fail() -> None:
        raise RuntimeError("a secret of the inside")

    application.add_api_route("/livez/fail", fail)
    application.router.routes.insert(0, application.router.routes.pop())
    return application


def test_an_unexpected_error_is_a_problem_without_its_inside(app: FastAPI) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
            key = app.state.services.keys.add(Role.ADMIN, "test", TESTER).key
            return await client.get("http://x/livez/fail", headers={"Authorization": f"Bearer {key}"})

    response = asyncio.run(ask())
    assert_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text


def test_a_problem_carries_its_headers_and_members() -> None:
    response = response_of(problems.Busy("wait"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert problems.WrongMode("no", found="CMYK").body() == {
        "type": "/problems/wrong-mode",
        "title": "The image is not 8-bit RGB",
        "status": 422,
        "detail": "no",
        "found": "CMYK",
    }


@pytest.mark.parametrize(("wait_s", "said"), [(9.2, "10"), (3.0, "3"), (0.01, "1")])
def test_too_soon_says_how_long_to_wait(wait_s: float, said: str) -> None:
    assert problems.TooSoon("wait", wait_s).headers["Retry-After"] == said
