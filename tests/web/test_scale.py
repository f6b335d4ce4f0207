"""The page shows the scale, refuses another one, and accepts a stated one."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.app.conftest import RunningServer
from tests.app.test_scale import MODEL, per_cm
from tests.web.conftest import Open, payload, png_of


def test_the_scale_is_shown_refused_and_stated(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    page = opened.page
    files, answers = page.locator("#files"), page.locator(".answers")
    files.set_input_files(payload("silent.png", png_of("tumour", 1)))
    expect(answers).to_contain_text("scale not stated")
    wrong = payload("wrong.tif", per_cm(MODEL / 2), "image/tiff")
    files.set_input_files(wrong)
    expect(page.get_by_role("alert")).to_contain_text("The file states 0.485 microns per pixel")
    page.get_by_label("Microns per pixel").fill("1.0")
    files.set_input_files(wrong)
    expect(answers).to_contain_text("1 stated, 0.97 expected")
