"""A server with some history, and real browsers that record errors of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, Request, Response, sync_playwright

from app.access.caller import Role
from model_zoo.synthetic import Kind, synthetic_patch
from tests.app.conftest import (
    TESTER,
    RunningServer,
    _no_settings_from_outside,
    answer_of,
    clock,
    database,
    encoded,
    png,
    tumour,
)
from tests.app.conftest import postgres as postgres
from tests.app.conftest import sqlite as sqlite
from tests.app.registry.conftest import accurate, fast
from tests.conftest import earlier_artifact

__all__ = ["_no_settings_from_outside", "accurate", "answer_of", "clock", "database", "fast", "png", "tumour"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = ((360, "dark"), (1920, "light"))
OTHER_SCREENS = ((360, "light"), (1920, "dark"))
MAX_PAGE_BYTES = 200_000


def png_of(kind: Kind, seed: int) -> bytes:
    return encoded(synthetic_patch(kind, seed))


def payload(name: str, data: bytes, media_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": data}


class Window:
    """A page in a browser of its own, and all that went wrong in it.

    Attributes:
        errors: console errors and uncaught exceptions; without those about a status that was expected.
        weight: bytes of response bodies since :meth:`go`.
    """

    def __init__(self, browser: Browser, server: RunningServer, width: int, theme: Literal["light", "dark"]) -> None:
        self.server = server
        self.context = browser.new_context(
            base_url=server.url, viewport={"width": width, "height": 900}, color_scheme=theme
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.errors: list[str] = []
        self.weight = 0
        self._statuses: set[int] = set()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("requestfinished", self._finished)

    def expect(self, *statuses: int) -> None:
        """Say that documents with these statuses will come, which browsers note as errors."""
        self._statuses |= set(statuses)

    def go(self, path: str) -> Response:
        self.weight = 0
        response = self.page.goto(path, wait_until="load")
        assert response is not None
        return response

    def sign_in(self, key: str, path: str = "/") -> None:
        self.go(path)
        self.page.get_by_label("Your key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    @property
    def heading(self) -> str:
        return self.page.locator("h1").inner_text()

    def fits(self) -> bool:
        """Whether nothing of the page must be scrolled to from the side."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def barriers(self) -> list[str]:
        """Serious and critical findings of axe-core."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html']}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def close(self) -> None:
        self.context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        expected = any(f"status of {status} " in message.text for status in self._statuses)
        if message.type in {"error", "warning"} and not expected:
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        target = urlsplit(request.url)
        if target.scheme in {"http", "https", "ws", "wss"} and target.netloc != urlsplit(self.server.url).netloc:
            self.errors.append(f"a request to {request.url}")

    def _finished(self, request: Request) -> None:
        if request.url.startswith("http"):
            self.weight += request.sizes()["responseBodySize"]


Open = Callable[..., Window]


@pytest.fixture(scope="session")
def artifact_path() -> Path:
    """An artifact whose answers to the synthetic patches these tests know."""
    return earlier_artifact()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def lived_in(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path, fast: bytes) -> Iterator[RunningServer]:
    """A server on which some patches were answered, judged, and answered by a shadow, too."""
    with RunningServer(tmp_path_factory.mktemp("lived-in"), artifact_path) as running:
        fill(running, fast)
        yield running


def fill(running: RunningServer, fast: bytes) -> None:
    client = running.client
    added = client.post("/admin/models", content=fast, headers={"Content-Type": "application/octet-stream"})
    assert added.status_code == 201
    assert client.post(f"/admin/models/{added.json()['id']}/shadow").status_code == 200
    for role, name in ((Role.PREDICT, "Microscope 3"), (Role.REVIEW, "Dr. A. Grünwald"), (Role.READ, "Ward board")):
        running.services.keys.add(role, name, TESTER, datetime.now(UTC) + timedelta(days=365))
    revoked = running.services.keys.add(Role.PREDICT, "Old scanner", TESTER)
    running.services.keys.revoke(revoked.id, TESTER)
    patches: list[tuple[Kind, int]] = [
        ("normal", 2), ("tumour", 1), ("blank", 3), ("normal", 14), ("tumour", 9), ("tumour", 11), ("tumour", 4),
    ]  # fmt: skip
    for number, (kind, seed) in enumerate(patches):
        about = {"case_id": f"case-{number // 3 + 1}", "slide_id": f"case-{number // 3 + 1}.{number % 3 + 1}"}
        asked = client.post("/predict", params=about, content=png_of(kind, seed), headers={"Content-Type": "image/png"})
        assert asked.status_code == 200
    said = {"verdict": "disagree", "note": "Histiocytes in the sinus, no tumour.\nSecond opinion asked."}
    assert client.post(f"/predictions/{asked.json()['id']}/reviews", json=said).status_code == 201


@pytest.fixture
def window(browser: Browser, lived_in: RunningServer) -> Iterator[Open]:
    """Opens windows, on the lived-in server unless told otherwise; nothing may have gone wrong in any of them."""
    opened: list[Window] = []

    def open_window(
        server: RunningServer | None = None, width: int = 1280, theme: Literal["light", "dark"] = "light"
    ) -> Window:
        opened.append(Window(browser, server or lived_in, width, theme))
        return opened[-1]

    yield open_window
    found = [error for each in opened for error in each.errors]
    for each in opened:
        each.close()
    assert found == []


def newest(server: RunningServer, **wanted: str) -> str:
    """The id of the newest recorded answer that fits."""
    found: str = server.client.get("/predictions", params={"limit": "1"} | wanted).json()["predictions"][0]["id"]
    return found


@pytest.fixture
def visitor(lived_in: RunningServer) -> Iterator[Callable[[Role], httpx.Client]]:
    """Signs in over HTTP alone, as a browser would, with a new key of a role."""
    opened: list[httpx.Client] = []

    def visit(role: Role = Role.ADMIN) -> httpx.Client:
        opened.append(signed_in(lived_in, lived_in.new_key(role)))
        return opened[-1]

    yield visit
    for client in opened:
        client.close()


def signed_in(server: RunningServer, key: str) -> httpx.Client:
    client = httpx.Client(base_url=server.url, headers={"Accept": "text/html"}, timeout=120, trust_env=False)
    response = client.post("/login", data={"key": key})
    assert response.status_code == 303, response.text
    return client
