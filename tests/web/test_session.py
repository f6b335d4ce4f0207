"""The table of a session's answers on the page Diagnose, and what is measured of one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.access.caller import Role
from tests.app.conftest import RunningServer
from tests.web.conftest import Open, Window, payload, png_of


@pytest.fixture
def opened(window: Open, lived_in: RunningServer) -> Window:
    """The page of somebody who has asked nothing yet."""
    opened = window()
    opened.sign_in(lived_in.new_key(Role.PREDICT))
    return opened


def test_a_reload_keeps_the_sessions_answers(opened: Window, tmp_path: Path) -> None:
    page = opened.page
    expect(page.locator("#session")).to_be_hidden()
    page.get_by_label("Case", exact=True).fill("case-5")
    files = [payload(f"{kind}.png", png_of(kind, 4)) for kind in ("tumour", "normal", "blank")]
    page.set_input_files("#files", files)
    page.get_by_text("3 of 3 done").wait_for()
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(3)
    tally = page.locator("#tally").inner_text()
    assert "1 Not assessable" in tally

    page.get_by_role("button", name="Probability").click()
    found = [float(value or -1) for value in values(opened, "probability")]
    assert found == sorted(found)
    page.get_by_role("button", name="Probability").click()
    assert [float(value or -1) for value in values(opened, "probability")] == found[::-1]
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    saved = tmp_path / "session.csv"
    download.value.save_as(saved)
    with saved.open(newline="") as lines:
        told = list(csv.DictReader(lines))
    assert {row["file"] for row in told} == {"tumour.png", "normal.png", "blank.png"}
    assert {row["case"] for row in told} == {"case-5"}

    ids = sorted(str(row.get_attribute("data-id")) for row in rows.all())
    page.reload()
    expect(rows).to_have_count(3)
    assert sorted(str(row.get_attribute("data-id")) for row in rows.all()) == ids
    assert page.locator("#tally").inner_text().split(", ").sort() == tally.split(", ").sort()
    rows.first.get_by_role("link").click()
    expect(page).to_have_url(opened.page.url)
    expect(page.locator(".answer")).to_be_visible()


def values(opened: Window, name: str) -> list[str]:
    cells = opened.page.locator(f'#table tbody [data-name="{name}"]')
    return [str(cell.get_attribute("data-value")) for cell in cells.all()]


def test_squares_are_covered_and_the_picture_has_a_scale(opened: Window) -> None:
    page = opened.page
    page.get_by_label("Covered squares").select_option("report")
    page.set_input_files("#files", [payload("one.png", png_of("tumour", 11))])
    answer = page.locator(".answer")
    expect(answer.locator(".occlusion g")).to_have_count(36)
    expect(answer.locator(".scalebar")).to_contain_text("31 µm")
    picture = answer.locator("img[data-patch]")
    smooth = answer.get_by_role("button", name="Smooth enlargement")
    rendering = "image => getComputedStyle(image).imageRendering"
    assert picture.evaluate(rendering) == "pixelated"
    zoom = answer.get_by_role("button", name="Zoom to the centre")
    widths = [answer.locator(part) for part in ("[data-patch]", ".scalebar path")]
    before = [part.evaluate("part => part.getBoundingClientRect().width") for part in widths]
    zoom.click()
    after = [part.evaluate("part => part.getBoundingClientRect().width") for part in widths]
    assert [round(wide / narrow, 1) for wide, narrow in zip(after, before, strict=True)] == [2, 2]
    expect(zoom).to_have_attribute("aria-pressed", "true")
    smooth.click()
    expect(smooth).to_have_attribute("aria-pressed", "true")
    assert picture.evaluate(rendering) == "auto"
