"""A pathologist's hour: patches, the doubtful ones by keyboard, a blind second reader, and a third who decides."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.access.caller import Role
from tests.app.conftest import RunningServer
from tests.scale import scaled
from tests.web.conftest import MAX_PAGE_BYTES, Open, payload, png_of

NUMBER = scaled(12, 40)
MOST_PRESSES = 3


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("clinic")
    with RunningServer(home, artifact_path, store_patches=True, store_names=True, blind_review=True) as running:
        yield running


class Keyboard:
    """Presses keys on a page, and counts them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.presses = 0

    def press(self, key: str) -> None:
        self.presses += 1
        self.page.keyboard.press(key)

    def goes_on(self, key: str) -> str:
        """Press a key that opens another answer, and give its id."""
        before = self.page.url
        self.press(key)
        self.page.wait_for_url(lambda url: url != before and "/cases/0" in url)
        self.page.locator("#keys-help").wait_for(state="attached")
        self.page.wait_for_load_state()
        return self.page.url.partition("/cases/")[2][:36]


def states(server: RunningServer) -> dict[str, tuple[str, str | None, int]]:
    found = server.client.get("/worklist/answers", params={"limit": "200"}).json()["answers"]
    return {each["id"]: (each["state"], each["verdict"], each["readers"]) for each in found}


def test_a_pathologists_hour(window: Open, clinic: RunningServer, tmp_path: Path) -> None:
    opened = window(clinic)
    page, keyboard = opened.page, Keyboard(opened.page)
    opened.sign_in(clinic.new_key(Role.PATHOLOGIST))
    expect(page.get_by_text("The names of the files are recorded with the answers")).to_be_visible()
    page.get_by_label("Case", exact=True).fill("case-9")
    page.get_by_label("Slide", exact=True).fill("case-9.1")
    page.get_by_label("Turns").select_option("none")
    kinds = ("normal", "tumour")
    files = [payload(f"{kinds[n % 2]} {n}.png", png_of(kinds[n % 2], n)) for n in range(NUMBER)]  # type: ignore[arg-type]
    page.set_input_files("#files", files)
    page.get_by_text(f"{NUMBER} of {NUMBER} done").wait_for()

    page.get_by_role("link", name="Cases").click()
    page.locator("[data-row]").wait_for()
    expect(page.locator("[data-row]")).to_contain_text(f"open {NUMBER}, judged 0")
    keyboard.press("j")
    keyboard.press("Enter")
    page.get_by_role("heading", name="Case case-9").wait_for()
    rows = page.locator("[data-row]")
    expect(rows).to_have_count(NUMBER)
    expect(page.get_by_role("heading", name="Slide case-9.1")).to_be_visible()
    expect(rows.first).to_contain_text(".png")
    expect(rows.first.locator("time")).to_have_attribute(
        "title", page.locator("time").first.get_attribute("title") or ""
    )
    assert (page.locator("time").first.get_attribute("title") or "").endswith(" UTC")
    assert rows.first.locator("img.thumb").evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    doubts = [float(text) for text in page.locator(".doubt .number").all_inner_texts()]
    assert doubts == sorted(doubts, reverse=True)

    keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert opened.barriers() == []
    page.keyboard.press("Escape")
    keyboard.presses = 0
    judged = [keyboard.goes_on("n")]
    verdicts = ["agree", "agree", "disagree", "agree"]
    for verdict in verdicts:
        page.reload()  # loses nothing
        assert page.locator("[data-patch]").evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
        judged.append(keyboard.goes_on(verdict[0]))
    assert keyboard.presses <= MOST_PRESSES * len(verdicts)
    assert len({*judged}) == len(verdicts) + 1
    expect(page.get_by_role("status")).to_contain_text("Your verdict is stored")
    found = states(clinic)
    assert [found[each] for each in judged[:-1]] == [("judged", verdict, 1) for verdict in verdicts]
    assert sum(state == "open" for state, *_ in found.values()) == NUMBER - len(verdicts)
    skipped, back = keyboard.goes_on("j"), keyboard.goes_on("k")
    assert (back, skipped != back) == (judged[-1], True)

    second_reader(window, clinic, judged[0])
    third_reader(window, clinic, judged[0])

    opened.go("/cases/log")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as stream:
        exported = {row["id"]: row["file_name"] for row in csv.DictReader(stream)}
    assert exported.keys() == found.keys()
    assert {*exported.values()} == {file["name"] for file in files}


def second_reader(window: Open, clinic: RunningServer, first: str) -> None:
    """Sees neither the first verdict nor the model's answer before their own, which disagrees, is stored."""
    opened = window(clinic, width=360)
    page, keyboard = opened.page, Keyboard(opened.page)
    opened.sign_in(clinic.new_key(Role.REVIEW), "/cases?case_id=case-9&state=judged&unread=1")
    expect(page.locator("[data-row]").first).to_contain_text("hidden until you have judged")
    assert page.locator("[data-row] .verdict, [data-row] .decision").count() == 0
    assert keyboard.goes_on("n") == first
    expect(page.get_by_text("You are the second reader")).to_be_visible()
    assert page.locator(".verdict-block, .rosette, .reviews, pre").count() == 0
    assert (opened.fits(), opened.barriers(), opened.weight < MAX_PAGE_BYTES) == (True, [], True)
    answer = clinic.client.get(f"/predictions/{first}").json()
    keyboard.goes_on("o" if answer["label"] == "metastasis" else "m")
    assert states(clinic)[first] == ("disagreed", None, 2)
    opened.go(f"/cases/{first}")
    assert page.locator(".reviews .verdict").all_inner_texts() == ["Agree", "Disagree"]
    expect(page.get_by_text("The reviewers disagree: a third person decides.")).to_be_visible()


def third_reader(window: Open, clinic: RunningServer, first: str) -> None:
    opened = window(clinic)
    page, keyboard = opened.page, Keyboard(opened.page)
    opened.sign_in(clinic.new_key(Role.REVIEW), "/cases?state=disagreed")
    assert keyboard.goes_on("n") == first
    assert page.locator(".reviews .verdict").all_inner_texts() == ["Agree", "Disagree"]
    keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Nothing is left to judge in this list.")
    assert "state=disagreed" in page.url
    assert states(clinic)[first] == ("judged", "agree", 3)
