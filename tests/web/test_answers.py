"""An answer on a page: basis, reasons, and the answers at nine offsets."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import expect

from app.access.caller import Role
from tests.app.conftest import RunningServer
from tests.web.conftest import Open, payload, png_of

PNG = {"Content-Type": "image/png"}


def test_a_case_shows_the_grid_of_shifts_where_they_were_measured(
    lived_in: RunningServer, visitor: Callable[[], httpx.Client]
) -> None:
    images = [lived_in.client.post("/predict", params={"shifts": shifts}, content=png_of("tumour", 9), headers=PNG)
              for shifts in ("report", "none")]  # fmt: skip
    measured, plain = (response.json() for response in images)
    browser = visitor()
    shown = browser.get(f"/cases/{measured['id']}").text
    assert re.findall(r'<text x="30" y="35" text-anchor="middle">([\d.]+)</text>', shown) == [
        f"{probability:.2f}" for probability in measured["shifts"]["probabilities"]
    ]
    assert "Probability at shifted positions" in shown
    assert 'class="shifts"' not in browser.get(f"/cases/{plain['id']}").text


def test_glass_has_no_grid(lived_in: RunningServer, visitor: Callable[[], httpx.Client]) -> None:
    """Nothing is told from it, at no offset."""
    answer = lived_in.client.post(
        "/predict", params={"shifts": "report"}, content=png_of("blank", 3), headers=PNG
    ).json()
    shown = visitor().get(f"/cases/{answer['id']}").text
    assert answer["decision"] == "not_assessable"
    assert 'class="shifts"' not in shown
    assert all(f'data-code="{reason["code"]}"' in shown for reason in answer["reasons"])


def test_cases_are_filtered_by_reason(lived_in: RunningServer, visitor: Callable[[], httpx.Client]) -> None:
    browser = visitor()
    wanted = lived_in.client.get("/predictions", params={"reason": "no_tissue"}).json()["predictions"]
    page = browser.get("/cases/log", params={"reason": "no_tissue"}).text
    assert wanted
    assert re.findall(r'<th scope="row"[^>]*><a href="/cases/([0-9a-f-]{36})"', page) == [row["id"] for row in wanted]
    assert '<option value="no_tissue" selected>no tissue</option>' in page
    assert (
        "“Reason” is not valid, expected: one of the choices."
        in browser.get("/cases/log", params={"reason": "glass"}).text
    )


def test_shifts_are_asked_for_on_the_page(window: Open, lived_in: RunningServer) -> None:
    opened = window(width=360)
    opened.sign_in(lived_in.new_key(Role.PREDICT))
    opened.page.get_by_label("Shifts").select_option("report")
    opened.page.set_input_files("#files", payload("tumour.png", png_of("tumour", 9)))
    answer = opened.page.locator("details.result .answer")
    expect(answer.locator("figure.shifts .cell")).to_have_count(9)
    expect(answer.locator("figure.shifts .cell.centre")).to_have_count(1)
    expect(answer).to_contain_text("Decided by")
    expect(answer).to_contain_text("scale not stated, 0.97 expected")
    assert opened.fits()
    assert opened.barriers() == []
