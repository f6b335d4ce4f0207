"""Screenshots of all pages at both widths and in both themes, and accessibility checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.app.acceptance.test_acceptance import a_report
from tests.app.conftest import TESTER, RunningServer
from tests.conftest import ROOT, shipped_artifact
from tests.web.conftest import MAX_PAGE_BYTES, OTHER_SCREENS, SCREENS, Open, newest, payload, png_of

README_PATCHES = ("tumour-2", "normal-1", "tumour-3", "normal-2")
EXAMPLES = ROOT / "docs" / "examples"
FOLDER = ROOT / "build" / "screenshots"


def accepted(server: RunningServer) -> str:
    """The id of a recorded acceptance test that failed."""
    checks = ({"text": "sensitivity: lower 95 % bound at least 0.778", "found": "0.7 [0.6, 0.8]", "passed": False},)
    shadow = next(each for each in server.client.get("/admin/models").json()["models"] if each["state"] == "shadow")
    model = {name: shadow[name] for name in ("name", "version")} | {"sha256": shadow["id"]}
    report = a_report(outcome="failed", checks=checks, model=model, site="Ward 7")
    return server.services.acceptances.add(report, TESTER).id


def pages(server: RunningServer) -> dict[str, str]:
    """Every page by the name of its picture."""
    model = next(each for each in server.client.get("/admin/models").json()["models"] if each["state"] == "shadow")
    keys = server.client.get("/admin/keys").json()["keys"]
    key = next(each["id"] for each in keys if each["name"] == "Ward board")
    inconsistent, blank = newest(server, case_id="case-2"), newest(server, decision="not_assessable")
    return {
        "cases": "/cases",
        "cases-answers": "/cases?case_id=case-2",
        "cases-empty": "/cases?case_id=nobody",
        "log": "/cases/log?sort=deviation",
        "case": f"/cases/{newest(server)}",
        "case-inconsistent": f"/cases/{inconsistent}",
        "case-not-assessable": f"/cases/{blank}",
        "compare": f"/cases/compare?a={newest(server)}&b={inconsistent}",
        "models": "/models",
        "model": f"/models/{model['id']}",
        "activate": f"/models/{model['id']}/activate",
        "retire": f"/models/{model['id']}/retire",
        "acceptance": "/acceptance",
        "acceptance-report": f"/acceptance/{accepted(server)}",
        "agreement": "/ui/agreement",
        "keys": "/keys",
        "revoke": f"/keys/{key}/revoke",
        "replace": f"/keys/{key}/replace",
        "audit": "/audit?verify=1",
        "audit-filtered": "/audit?action=model.",
        "status": "/status",
    }


@pytest.mark.parametrize(
    ("width", "theme"),
    [*SCREENS, *(pytest.param(*each, marks=[pytest.mark.soak, pytest.mark.nightly]) for each in OTHER_SCREENS)],
)
def test_every_page(window: Open, lived_in: RunningServer, width: int, theme: Literal["light", "dark"]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    opened = window(width=width, theme=theme)
    found: dict[str, object] = {}

    def look(name: str) -> None:
        opened.page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)
        found[name] = (opened.weight < MAX_PAGE_BYTES, opened.fits(), opened.barriers())

    opened.go("/login?ended=1")
    look("login")
    opened.sign_in(lived_in.key)
    opened.go("/")
    look("diagnose-empty")
    files = [payload("blank.png", png_of("blank", 1)), payload("normal.png", png_of("normal", 2))]
    opened.page.set_input_files(
        "#files", [*files, payload("report.pdf", b"%PDF-1.7"), payload("a.png", png_of("tumour", 4))]
    )
    opened.page.get_by_text("4 of 4 done").wait_for()
    opened.page.locator("details.result", has_text="a.png").locator("> summary").click()
    look("diagnose")
    for name, path in pages(lived_in).items():
        assert opened.go(path).status == 200, path
        look(name)
    opened.expect(404)
    assert opened.go("/cases/none").status == 404
    look("problem")
    assert {name: result for name, result in found.items() if result != (True, True, [])} == {}


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[RunningServer]:
    """A server with the model that a new server has; some real patches were answered."""
    with RunningServer(tmp_path, shipped_artifact(name="accurate")) as running:
        for number, file in enumerate(sorted(EXAMPLES.glob("*.png"))):
            about = {"case_id": f"case-{number // 3 + 1}", "slide_id": f"case-{number // 3 + 1}.{number % 3 + 1}"}
            asked = running.client.post("/predict", params=about, files={"file": file.read_bytes()})
            assert asked.status_code == 200
        yield running


def test_the_readmes_pictures(window: Open, shipped: RunningServer) -> None:
    """`python scripts/readme_images.py` puts them into docs/images."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    opened = window(shipped, width=1280)
    opened.sign_in(shipped.key)
    opened.page.set_input_files("#files", [EXAMPLES / f"{name}.png" for name in README_PATCHES])
    opened.page.get_by_text("4 of 4 done").wait_for()
    opened.page.locator("details.result", has_text=f"{README_PATCHES[0]}.png").locator("> summary").click()
    assert opened.page.locator(".rosette > svg").count() >= 1
    opened.page.screenshot(path=FOLDER / "readme-diagnose.png", full_page=True)
    opened = window(shipped, width=1366, theme="dark")
    opened.sign_in(shipped.key, "/cases/log?sort=deviation")
    opened.page.screenshot(path=FOLDER / "readme-cases.png")
    assert opened.page.locator("tbody tr").count() > 5
