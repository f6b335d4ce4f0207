"""Slides in a real browser: from the list through a run to its map, and who sees what of it."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import sleep

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app.access.caller import Role
from app.web.assets import ASSETS
from slides.cells import State, read_run
from slides.geojson import regions_geojson
from slides.reader import Reader, Rectangle
from slides.regions import Rule
from slides.summary import unread
from tests.app.conftest import RunningServer
from tests.conftest import shipped_artifact
from tests.slides.made import write_svs
from tests.web.conftest import MAX_PAGE_BYTES, OTHER_SCREENS, SCREENS, Open, Window, newest, signed_in
from tests.web.test_screens import FOLDER

NAME = "part.svs"
PART = Rectangle(600, 500, 1200, 1660)  # of the shared slide: 540 cells, with two regions
GLASS = (1111, 200)  # a pixel of this part

expect.set_options(timeout=120_000)


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[RunningServer]:
    """A server that offers a part of the shared slide and a file that is none; nothing was scored yet."""
    folder = tmp_path_factory.mktemp("slides")
    with Reader(shared / "slides" / "CMU-1-Small-Region.svs") as reader:
        pixels, _ = reader.read(0, PART)
        write_svs(folder / NAME, np.ascontiguousarray(pixels[..., 2::-1]), 0.499)
    (folder / "damaged.svs").write_bytes(b"II*\0" + bytes(1000))
    home = tmp_path_factory.mktemp("home")
    with RunningServer(home, shipped_artifact(name="fast"), slides=str(folder)) as running:
        if said := running.services.slides.unavailable():
            pytest.skip(said)
        yield running


@pytest.fixture(scope="module")
def scored(offering: RunningServer) -> str:
    """The id of a complete run with turns and shifts of doubtful and hot cells, which the server's admin started."""
    [slide] = [each for each in offering.client.get("/slides").json()["slides"] if each["name"] == NAME]
    body = {"prevalence": 0.1, "rotations": "auto", "shifts": "auto"}
    started = offering.client.post(f"/slides/{slide['id']}/scores", json=body)
    assert started.status_code == 202, started.text
    run = str(started.json()["id"])
    while (found := offering.client.get(f"/runs/{run}").json())["state"] in {"queued", "running"}:
        sleep(0.2)
    assert found["state"] == "complete", found
    return run


def test_a_slide_is_scored_and_its_map_shown_after_a_click(window: Open, offering: RunningServer) -> None:
    opened = window(offering)
    page = opened.page
    opened.sign_in(offering.key)
    page.get_by_role("link", name="Slides", exact=True).click()
    article = page.get_by_role("article", name=NAME)
    expect(article).to_contain_text("0.499 µm per pixel")
    expect(article).to_contain_text("1,200 × 1,660 px")
    expect(article).to_contain_text("not scored yet")
    thumbnail = article.get_by_role("img", name=f"{NAME}, overview")
    opened.page.wait_for_load_state("networkidle")
    assert thumbnail.evaluate("image => image.naturalWidth") > 100
    expect(page.get_by_role("article", name="damaged.svs")).to_contain_text("It cannot be scored")
    assert page.get_by_role("article", name="damaged.svs").get_by_role("button").count() == 0
    article.get_by_text("Settings").click()
    article.get_by_label("Turns").select_option("none")
    article.get_by_label("Expected share of positive cells").fill("0.1")
    article.get_by_role("button", name="Score").click()
    page.wait_for_url("**/ui/slides/runs/*")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    # The page follows the run, and is loaded again when it has ended.
    expect(page.get_by_role("link", name="Show the map all the same")).to_be_visible()
    expect(page.locator("section.scope")).to_contain_text("Not what this model was made for")
    assert page.locator(".region").count() == 0
    assert page.locator(".map").count() == 0
    assert page.locator("#run").get_attribute("data-map") == ""
    page.get_by_role("link", name="Show the map all the same").click()
    expect(page.locator(".map[data-ready]")).to_be_attached()
    expect(page.locator("section.scope")).to_contain_text("Not what this model was made for")
    expect(page.locator("#legend")).to_contain_text("where 10 % of the cells are positive")
    expect(page.get_by_label("Turn consistency")).to_be_disabled()


def ready(opened: Window, run: str) -> Page:
    """A run's map, in a browser that moves to places at once."""
    page = opened.page
    page.emulate_media(reduced_motion="reduce")
    opened.go(f"/ui/slides/runs/{run}?map=shown")
    expect(page.locator(".map[data-ready]")).to_be_attached()
    return page


def drawn(page: Page) -> str:
    """What lies over the slide, as one text."""
    return str(page.locator(".map").evaluate("canvas => canvas.toDataURL()"))


def test_layers_are_switched(window: Open, offering: RunningServer, scored: str) -> None:
    opened = window(offering)
    opened.sign_in(offering.key)
    page = ready(opened, scored)
    seen = {}
    for label in ("Probability", "Turn consistency", "Shift consistency", "Not assessable", "Slide alone"):
        page.get_by_label(label, exact=True).check()
        seen[label] = drawn(page)
    assert len(set(seen.values())) == len(seen)
    page.get_by_label("Probability", exact=True).check()
    assert drawn(page) == seen["Probability"]
    page.get_by_label("Opacity").fill("100")
    assert drawn(page) != seen["Probability"]
    page.get_by_label("Opacity").fill("55")
    page.get_by_label("Outline regions").uncheck()
    assert drawn(page) != seen["Probability"]
    page.get_by_label("Outline regions").check()
    page.keyboard.press("m")
    assert drawn(page) == seen["Slide alone"]
    page.keyboard.press("m")
    assert drawn(page) == seen["Probability"]


def test_regions_are_walked_by_keyboard(window: Open, offering: RunningServer, scored: str) -> None:
    opened = window(offering)
    opened.sign_in(offering.key)
    page = ready(opened, scored)
    features = offering.client.get(f"/runs/{scored}/regions.geojson").json()["features"]
    regions = page.locator(".region")
    assert regions.count() == len(features) > 1
    chosen = page.locator(".region[aria-current=true] .place")
    for key, number in (("j", "1"), ("j", "2"), ("k", "1"), ("k", "1")):
        page.keyboard.press(key)
        expect(chosen).to_have_text(number)
    expect(page.locator("#announced")).to_contain_text("Probability up to")
    page.keyboard.press("d")
    expect(page.locator("#announced")).to_have_text("Disagree: your verdict on region 1 is stored.")
    regions.nth(1).locator("xpath=..").get_by_role("button", name="Unsure").click()
    expect(page.locator(".judged .verdict")).to_have_text(["Disagree", "Unsure"])
    stored = offering.client.get(f"/runs/{scored}/reviews").json()["reviews"]
    assert [(each["region"], each["verdict"]) for each in stored] == [(1, "disagree"), (2, "unsure")]
    page.get_by_label("Order").select_option("doubt")
    doubts = [float(value or 0) for value in regions.evaluate_all("all => all.map((each) => each.dataset.doubt)")]
    assert doubts == sorted(doubts, reverse=True)
    page.get_by_label("Keys on").uncheck()
    before = chosen.inner_text()
    page.keyboard.press("j")
    assert chosen.inner_text() == before
    regions.nth(1).click()
    assert regions.nth(1).get_attribute("aria-current") == "true"


def click_centre(page: Page) -> None:
    page.locator(".region").first.click()
    expect(page.locator(".region").first).to_have_attribute("aria-current", "true")
    box = page.locator("#osd").bounding_box()
    assert box is not None
    page.locator("#osd").click(position={"x": box["width"] / 2, "y": box["height"] / 2})


@pytest.mark.parametrize("width", [360, 1280])
def test_a_place_is_answered_with_its_rosette(window: Open, offering: RunningServer, scored: str, width: int) -> None:
    opened = window(offering, width=width)
    opened.sign_in(offering.key)
    page = ready(opened, scored)
    before = offering.recorded()
    click_centre(page)
    answer = page.locator("#cell .answer")
    expect(answer.locator(".rosette > svg")).to_be_visible()
    assert offering.recorded() == before + 1
    expect(page.locator("#cell")).to_contain_text("The slide is not what this model was made for")
    recorded = offering.client.get(f"/predictions/{newest(offering)}").json()
    assert answer.get_attribute("data-id") == recorded["id"]
    assert recorded["slide_id"] == page.locator("#run").get_attribute("data-slide")
    found = re.search(r"Column (\d+), row (\d+)", page.locator("#cell-map").inner_text())
    assert found is not None
    lines = offering.client.get(f"/runs/{scored}/cells.csv").text.splitlines()
    line = next(each.split(",") for each in lines if each.startswith(f"{found[1]},{found[2]},"))
    assert [float.fromhex(text) for text in line[8:10]] == [float(np.float32(each)) for each in recorded["logits"]]
    picture = answer.get_by_role("img", name="The patch, enlarged four times")
    assert picture.evaluate("image => image.naturalWidth") == 96
    assert page.get_by_role("link", name="Open in Cases").get_attribute("href") == f"/cases/{recorded['id']}"
    assert opened.fits()
    assert opened.barriers() == []
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#cell")).to_be_hidden()


def test_a_place_is_chosen_by_keyboard_and_glass_is_not_asked_about(
    window: Open, offering: RunningServer, scored: str
) -> None:
    opened = window(offering)
    opened.sign_in(offering.key)
    page = ready(opened, scored)
    before = offering.recorded()
    page.locator(".region").first.click()
    page.locator(".openseadragon-canvas").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cell .answer")).to_be_visible()
    assert offering.recorded() == before + 1
    page.get_by_role("button", name="Whole slide").click()
    box = page.locator("#osd").bounding_box()
    assert box is not None
    scale = min(box["width"] / PART.width, box["height"] / PART.height)
    x, y = (GLASS[0] - PART.width / 2) * scale, (GLASS[1] - PART.height / 2) * scale
    page.locator("#osd").click(position={"x": box["width"] / 2 + x, "y": box["height"] / 2 + y})
    expect(page.locator("#cell-map")).to_contain_text("glass: nothing to judge")
    assert page.locator("#cell .answer").count() == 0
    assert offering.recorded() == before + 1


def test_roles_see_slides_as_they_see_predictions(window: Open, offering: RunningServer, scored: str) -> None:
    path = f"/ui/slides/runs/{scored}"
    for role in (Role.READ, Role.REVIEW):
        with closing(signed_in(offering, offering.new_key(role))) as client:
            listed = client.get("/ui/slides").text
            assert NAME in listed
            assert "/score" not in listed
            assert client.get(path).status_code == 200
            token = re.findall(r'name="csrf" value="([^"]+)"', listed)[0]
            slide = re.findall(r"/ui/slides/([0-9a-f]{32})/thumbnail", listed)[0]
            for post in (f"/ui/slides/{slide}/score", f"{path}/cancel"):
                assert client.post(post, data={"csrf": token}).status_code == 403
    with closing(signed_in(offering, offering.new_key(Role.PREDICT))) as client:
        listed = client.get("/ui/slides").text
        assert NAME not in listed
        assert "Your role does not see file names." in listed
        assert "/score" in listed
        assert "not scored yet" in listed
        for part in ("", "/progress", "/cells.bin", "/outlines.json", "/cells/3/3.png", "/cells.csv", "/report.html"):
            assert client.get(path + part).status_code == 404, part
    with closing(signed_in(offering, offering.new_key(Role.METRICS))) as client:
        for closed in ("/ui/slides", path, f"{path}/cells.bin"):
            assert client.get(closed).status_code == 403
    opened = window(offering)
    opened.sign_in(offering.new_key(Role.READ), "/ui/slides")
    page = ready(opened, scored)
    before = offering.recorded()
    click_centre(page)
    expect(page.get_by_role("img", name="The patch of the chosen place")).to_be_visible()
    assert page.locator("#cell .answer").count() == 0
    assert offering.recorded() == before


def test_cells_are_packed_as_the_script_reads_them(offering: RunningServer, scored: str) -> None:
    with closing(signed_in(offering, offering.key)) as client:
        packed = client.get(f"/ui/slides/runs/{scored}/cells.bin")
    assert packed.headers["content-encoding"] == "gzip"
    data = packed.content
    columns, rows = struct.unpack_from("<ii", data)
    count = columns * rows
    assert len(data) == 8 + 4 * (columns + 1 + rows + 1) + 8 * count
    lines = [line.split(",") for line in offering.client.get(f"/runs/{scored}/cells.csv").text.splitlines()[1:]]
    assert len(lines) == count
    at = 8 + 4 * (columns + rows + 2)
    turns = struct.unpack_from(f"<{count}H", data, at + 2 * count)
    states = data[at + 6 * count : at + 7 * count]
    names = ("scored", "glass", "not_assessable", "hole")
    for line, turn, state in zip(lines, turns, states, strict=True):
        assert names[state] == line[6]
        assert turn == (65535 if not line[11] else round(65534 * float(line[11])))


def test_what_is_not_there_is_told(offering: RunningServer, scored: str) -> None:
    with closing(signed_in(offering, offering.key)) as client:
        for path in (
            f"/ui/slides/{'0' * 32}/thumbnail.jpeg",
            f"/ui/slides/runs/{'0' * 32}",
            f"/ui/slides/runs/{scored}/nothing.txt",
            f"/ui/slides/runs/{scored}/cells/9999/0.png",
        ):
            assert client.get(path).status_code == 404, path
        for path in ("/ui/slides/x/thumbnail.jpeg", "/ui/slides?page=0", "/ui/slides?other=1"):
            assert client.get(path).status_code == 422, path
        listed = client.get("/ui/slides", params={"q": '"><script>alert(1)</script>'}).text
        assert "<script>alert" not in listed
        assert "No slide is called" in listed
        slide = re.findall(r"/ui/slides/([0-9a-f]{32})/thumbnail", client.get("/ui/slides").text)[0]
        token = re.findall(r'name="csrf" value="([^"]+)"', listed)[0]
        form = {"csrf": token, "rotations": "auto", "shifts": "none", "prevalence": ""}
        for wrong in ({"prevalence": "1"}, {"prevalence": "nan"}, {"rotations": "every"}, {"shifts": ""}):
            assert client.post(f"/ui/slides/{slide}/score", data=form | wrong).status_code == 422, wrong
        for forged in ({"csrf": ""}, {"csrf": "x" * 43}):
            assert client.post(f"/ui/slides/{slide}/score", data=form | forged).status_code == 403


def test_a_run_of_a_damaged_file_says_how_much_is_missing(offering: RunningServer, scored: str) -> None:
    [folder] = [path.parent for path in offering.settings.home.rglob("regions.geojson") if scored in str(path)]
    before, (run, cells) = (folder / "regions.geojson").read_bytes(), read_run(folder)
    rule = Rule()
    with closing(signed_in(offering, offering.key)) as client:
        assert "A part of the slide could not be read" not in client.get(f"/ui/slides/runs/{scored}?map=shown").text
        cells.put(cells.where(State.SCORED), State.HOLE)
        try:
            (folder / "regions.geojson").write_bytes(regions_geojson(run, [], rule, unread=unread(cells)))
            page = client.get(f"/ui/slides/runs/{scored}?map=shown").text
        finally:
            (folder / "regions.geojson").write_bytes(before)
    count = int(cells.where(State.HOLE).sum())
    assert "A part of the slide could not be read" in page
    assert f"{count:,} of {count:,} cells that may hold tissue (100 %) could not be read" in page


def test_files_of_a_run_are_downloads_and_its_report_a_page_without_rights(
    offering: RunningServer, scored: str
) -> None:
    with closing(signed_in(offering, offering.key)) as client:
        for name in ("cells.csv", "regions.geojson", "heatmap.png", "report.html"):
            response = client.get(f"/ui/slides/runs/{scored}/{name}")
            assert response.status_code == 200
            if name == "report.html":
                assert response.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
            else:
                assert response.headers["content-disposition"].startswith("attachment")
            assert response.content == offering.client.get(f"/runs/{scored}/{name}").content


def test_a_run_is_cancelled_and_others_stay(window: Open, offering: RunningServer, scored: str) -> None:
    opened = window(offering, width=360)
    opened.sign_in(offering.key, "/ui/slides")
    article = opened.page.get_by_role("article", name=NAME)
    article.get_by_text("Settings").click()
    article.get_by_label("Turns").select_option("full")
    article.get_by_label("Shifts").select_option("report")
    article.get_by_role("button", name="Score").click()
    opened.page.get_by_role("button", name="Cancel the run").click()
    expect(opened.page.get_by_role("status").first).to_contain_text("The run was cancelled")
    others = opened.page.get_by_role("region", name="Other runs of this slide")
    assert f"/ui/slides/runs/{scored}" in [each.get_attribute("href") for each in others.get_by_role("link").all()]
    assert opened.fits()
    assert opened.barriers() == []


def test_a_server_without_slides_says_which_setting_to_set(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key, "/ui/slides")
    expect(opened.page.locator("main")).to_contain_text("ROSETTE_SLIDES")
    assert opened.barriers() == []


def test_the_viewer_is_sent_compressed_where_that_is_read(lived_in: RunningServer) -> None:
    name = "openseadragon-6.1.1.min.js"
    assert "BSD" in ASSETS["openseadragon-6.1.1.LICENSE.txt"].data.decode() or b"Redistribution" in (
        ASSETS["openseadragon-6.1.1.LICENSE.txt"].data
    )
    with httpx.Client(base_url=lived_in.url) as client:
        zipped = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip, deflate"})
        plain = client.get(f"/static/{name}", headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert zipped.content == plain.content == ASSETS[name].data
    assert len(gzip.compress(plain.content)) < 100_000


@pytest.mark.parametrize(
    ("width", "theme"),
    [*SCREENS, *(pytest.param(*each, marks=[pytest.mark.soak, pytest.mark.nightly]) for each in OTHER_SCREENS)],
)
def test_screens(window: Open, offering: RunningServer, scored: str, width: int, theme: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    opened = window(offering, width=width, theme=theme)
    found: dict[str, object] = {}
    tiles: list[int] = []
    opened.page.on(
        "requestfinished",
        lambda request: tiles.append(request.sizes()["responseBodySize"]) if "/tiles/" in request.url else None,
    )
    opened.sign_in(offering.key)
    for name, path in (
        ("slides", "/ui/slides"),
        ("slide-out-of-scope", f"/ui/slides/runs/{scored}"),
        ("slide-map", f"/ui/slides/runs/{scored}?map=shown"),
    ):
        tiles.clear()
        opened.go(path)
        if name == "slide-map":
            expect(opened.page.locator(".map[data-ready]")).to_be_attached()
        opened.page.wait_for_load_state("networkidle")
        opened.page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)
        weight = opened.weight - sum(tiles)
        print(f"{name} at {width} px: {weight} bytes and {sum(tiles)} of tiles")
        found[name] = (weight < MAX_PAGE_BYTES, opened.fits(), opened.barriers())
    assert {name: result for name, result in found.items() if result != (True, True, [])} == {}
