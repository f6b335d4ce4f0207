"""User flows in a real browser."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from app.access.caller import Role
from app.records.tables import sessions
from model_zoo.notice import NOTICE
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded
from tests.app.registry.conftest import id_of, serving
from tests.web.conftest import Open, newest, payload, png_of

NORMAL = synthetic_patch("normal", 1)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> RunningServer:
    """A server on which nothing has happened yet."""
    return RunningServer(tmp_path_factory.mktemp("fresh"), artifact_path)


def test_a_wrong_key_is_told_and_the_right_one_leads_where_one_wanted(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.go("/cases/log?decision=review")
    assert opened.page.url.endswith("/login?next=%2Fcases%2Flog%3Fdecision%3Dreview")
    opened.expect(401)
    opened.page.get_by_label("Your key").fill("rsk_000000000000_" + "A" * 43)
    opened.page.get_by_role("button", name="Sign in").click()
    expect(opened.page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    opened.page.get_by_label("Your key").fill(lived_in.key)
    opened.page.get_by_role("button", name="Sign in").click()
    opened.page.get_by_role("heading", name="Log of answers").wait_for()
    assert opened.page.url == f"{lived_in.url}/cases/log?decision=review"
    assert set(opened.page.locator("tbody .decision").all_inner_texts()) == {"Review"}


def test_signing_out_ends_the_session(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    [cookie] = opened.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("rosette_session", True, "Strict")
    opened.page.get_by_role("button", name="Sign out").click()
    expect(opened.page.get_by_role("status")).to_have_text("You have signed out.")
    assert opened.context.cookies() == []
    key_id = lived_in.key[4:16]
    newest_two = lived_in.client.get("/admin/audit", params={"limit": 2}).json()["entries"]
    for told, action in zip(newest_two, ("close", "open"), strict=True):
        assert (told["action"], told["subject"], told["address"]) == (f"session.{action}", key_id, "127.0.0.1")
        assert f"({key_id})" in told["who"]
    opened.context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": lived_in.url}])
    opened.go("/cases")
    expect(opened.page.get_by_role("status")).to_contain_text("Your session has ended")


def test_an_idle_session_ends(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    long_ago = datetime.now(UTC) - timedelta(seconds=lived_in.settings.session_idle_s + 1)
    with lived_in.services.database.begin() as connection:
        connection.execute(update(sessions).values(last_seen_at=long_ago))
    opened.page.get_by_role("link", name="Audit").click()
    expect(opened.page.get_by_role("status")).to_contain_text("Your session has ended")
    assert opened.page.url.endswith("/login?next=%2Faudit&ended=1")


def test_a_patch_is_answered_with_its_picture(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    opened.page.get_by_label("Case", exact=True).fill("case-77")
    opened.page.set_input_files("#files", [payload("one.png", png_of("tumour", 11))])
    answer = opened.page.locator(".answer")
    answer.wait_for()
    recorded = lived_in.client.get(f"/predictions/{newest(lived_in, case_id='case-77')}").json()
    assert answer.get_attribute("data-id") == recorded["id"]
    expect(answer.locator(".word")).to_have_text("Review")
    expect(answer.locator(".figure .number")).to_have_text(f"{recorded['probability']:.3f}")
    expect(answer.locator(".reasons li")).to_contain_text("Turning the patch moves the probability")
    picture = answer.get_by_role("img", name="The patch, enlarged four times")
    assert picture.evaluate("image => [image.naturalWidth, getComputedStyle(image).imageRendering]") == [
        96,
        "pixelated",
    ]
    assert str(picture.get_attribute("src")).startswith("blob:")
    rosette = answer.locator(".rosette > svg")
    measured = recorded["consistency"]["source"].count("measured")
    assert (rosette.locator("circle.measured").count(), rosette.locator("circle.implied").count()) == (
        measured,
        12 - measured,
    )
    assert answer.locator(".probability .needle.review").count() == 1
    answer.get_by_text("All turns as a table").click()
    assert answer.locator("tbody tr").count() == 12


def test_many_files_are_answered_each_for_itself(window: Open, lived_in: RunningServer) -> None:
    before = lived_in.recorded()
    opened = window()
    opened.sign_in(lived_in.key)
    good = [payload(f"good {seed}.png", png_of("normal", seed)) for seed in range(8)]
    grey = encoded(NORMAL[..., 0])
    bad = [
        payload("letter.pdf", b"%PDF-1.7"),
        payload("small.png", encoded(NORMAL[:48, :48])),
        payload("grey.png", grey),
        payload("half.png", png_of("normal", 1)[:2000]),
        payload("huge.tif", b"II*\0" + bytes(lived_in.settings.max_body_bytes)),
    ]
    opened.page.set_input_files("#files", [*good, *bad])
    opened.page.get_by_text("13 of 13 done, 5 failed").wait_for()
    assert lived_in.recorded() == before + 8
    said = {
        item.locator(".name").inner_text(): item.locator(".refusal").inner_text()
        for item in opened.page.locator(".result.refused").all()
    }
    assert "not a PNG, JPEG or TIFF" in said["letter.pdf"]
    assert "48×48" in said["small.png"]
    assert "8-bit RGB" in said["grey.png"]
    assert "truncated or damaged" in said["half.png"]
    assert "the limit is" in said["huge.tif"]
    assert opened.page.locator(".result .decision.negative").count() >= 8


def test_a_patch_is_pasted_and_another_dropped(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    send = """([kind, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
        const event = kind === "paste"
          ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true })
          : new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
        document.querySelector("#drop").dispatchEvent(event);
    }"""
    for kind in ("paste", "drop"):
        opened.page.evaluate(send, [kind, base64.b64encode(png_of("normal", 2)).decode()])
        item = opened.page.locator(".result", has_text=f"{kind}.png")
        expect(item.locator(".word")).to_have_text("Negative")


def test_a_patch_that_a_browser_cannot_show_is_answered_all_the_same(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    opened.page.set_input_files("#files", [payload("patch.tif", encoded(NORMAL, "TIFF"), "image/tiff")])
    expect(opened.page.locator(".answer .word")).to_have_text("Negative")
    expect(opened.page.locator(".patch .unseen")).to_be_visible()


def test_one_answer_prints_on_one_page_with_the_notice(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key)
    files = [payload(f"{seed}.png", png_of("tumour", seed)) for seed in (11, 4)]
    opened.page.set_input_files("#files", files)
    opened.page.get_by_text("2 of 2 done").wait_for()
    for item in opened.page.locator(".result").all():
        item.locator("> summary").click()
    opened.page.evaluate("window.print = () => {}")
    opened.page.locator(".result", has_text="11.png").get_by_role("button", name="Print").click()
    opened.page.emulate_media(media="print")
    assert opened.page.locator(".result:visible").count() == 1
    expect(opened.page.locator(".result:visible .notice")).to_have_text(NOTICE)
    expect(opened.page.locator("header.top")).to_be_hidden()
    assert pages_of(opened.page.pdf(format="A4")) == 1
    opened.page.emulate_media(media="null")
    opened.go(f"/cases/{newest(lived_in, case_id='case-2')}")
    assert pages_of(opened.page.pdf(format="A4")) == 1
    opened.page.emulate_media(media="print")
    expect(opened.page.locator("footer")).to_contain_text(NOTICE)


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_a_reviewer_judges_an_answer(window: Open, lived_in: RunningServer) -> None:
    key = lived_in.new_key(Role.REVIEW)
    case = newest(lived_in, case_id="case-1", decision="review")
    opened = window()
    opened.sign_in(key, f"/cases/{case}")
    assert opened.page.get_by_role("link", name="Diagnose").count() == 0
    expect(opened.page.get_by_text("Nobody has reviewed this answer yet.")).to_be_visible()
    opened.page.get_by_label("Agree", exact=True).check()
    opened.page.get_by_label("Note").fill("<b>Small focus</b> at 3 o'clock.")
    opened.page.get_by_role("button", name="Store").click()
    expect(opened.page.get_by_role("status")).to_have_text("Your review is stored.")
    expect(opened.page.locator(".reviews .note")).to_have_text("<b>Small focus</b> at 3 o'clock.")
    [review] = lived_in.client.get(f"/predictions/{case}/reviews").json()["reviews"]
    assert (review["verdict"], review["reviewer"]) == ("agree", f"a test's review key ({key[4:16]})")
    [told, *_] = lived_in.client.get("/admin/audit").json()["entries"]
    assert (told["action"], told["who"], told["address"]) == ("prediction.review", review["reviewer"], "127.0.0.1")
    opened.go("/cases/log?case_id=case-1")
    assert opened.page.locator("tbody .verdict").inner_text() == "Agree"


def test_a_case_shows_a_picture_that_the_browser_has(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key, f"/cases/{newest(lived_in, case_id='case-2')}")
    picture = opened.page.locator("[data-patch]")
    expect(picture).to_be_hidden()
    opened.page.set_input_files("#picture", [payload("patch.png", png_of("tumour", 11))])
    expect(picture).to_be_visible()


def test_cases_are_filtered_sorted_compared_and_exported(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key, "/cases/log")
    opened.page.get_by_text("Filter", exact=True).click()
    opened.page.get_by_label("Case", exact=True).fill("case-2")
    opened.page.get_by_label("Sort").select_option("highest probability first")
    opened.page.get_by_role("button", name="Show", exact=True).click()
    opened.page.get_by_text("Filter: 1 set").wait_for()
    shown = [float(text) for text in opened.page.locator("td[data-label=Probability]").all_inner_texts()]
    assert len(shown) == 3
    assert shown == sorted(shown, reverse=True)
    with opened.page.expect_download() as download:
        opened.page.get_by_role("link", name="Export CSV").click()
    rows = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 3
    opened.page.locator("input[name=a]").nth(0).check()
    opened.page.locator("input[name=b]").nth(2).check()
    opened.page.get_by_role("button", name="Compare A with B").click()
    opened.page.get_by_role("heading", name="Compare two answers").wait_for()
    assert opened.page.locator(".rosette > svg").count() == 2
    expect(opened.page.get_by_text("The answers are about different pixels.")).to_be_visible()
    difference = opened.page.locator("tr", has_text="Probability of metastasis").locator("td").nth(2)
    assert float(difference.inner_text()) == pytest.approx(shown[2] - shown[0], abs=0.0011)


def test_empty_pages_say_what_to_do(window: Open, fresh: RunningServer) -> None:
    with fresh:
        opened = window(fresh)
        opened.sign_in(fresh.key, "/cases")
        expect(opened.page.get_by_text("There are no answers yet.")).to_be_visible()
        opened.page.get_by_role("link", name="Classify a patch").click()
        opened.page.get_by_role("heading", name="Classify patches").wait_for()
        opened.go("/status")
        expect(opened.page.get_by_text("There were no requests in the last 24 hours.")).to_be_visible()
        opened.expect(409)
        opened.go("/models/rollback")
        expect(opened.page.get_by_role("alert")).to_contain_text("There is no previously active model")


def test_a_model_comes_in_serves_and_goes_back(
    window: Open, tmp_path: Path, artifact_path: Path, accurate: bytes, fast: bytes
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        opened = window(running)
        opened.sign_in(running.key, "/models")
        page = opened.page

        page.set_input_files("#artifact", [payload("evil.onnx", b"\x80\x04evil", "application/octet-stream")])
        page.get_by_role("button", name="Upload and vet").click()
        expect(page.locator("[data-outcome=refused]")).to_contain_text("Python pickle")
        assert page.locator(".steps .state").all_inner_texts() == ["not signed", "failed"]
        assert len(running.client.get("/admin/models").json()["models"]) == 1

        page.set_input_files("#artifact", [payload("fast.onnx", fast, "application/octet-stream")])
        page.get_by_role("button", name="Upload and vet").click()
        page.locator("[data-outcome=admitted]").wait_for()
        assert set(page.locator(".steps .state").all_inner_texts()) == {"not signed", "passed"}
        assert page.locator(".steps .state").count() > 5
        assert serving(running) == id_of(accurate)
        page.get_by_role("link", name="Open fast").click()
        page.get_by_role("button", name="Use as shadow").click()
        expect(page.get_by_role("status").first).to_contain_text("shadow")
        page.get_by_role("button", name="Stop the shadow").click()

        page.get_by_role("link", name=re.compile("Activate … fast")).click()
        page.get_by_role("heading", name=re.compile("Activate fast")).wait_for()
        line = page.locator("tr", has_text="Consistency limit").locator("td").all_inner_texts()
        assert len(set(line)) == 2
        page.get_by_role("link", name="Cancel").click()
        assert serving(running) == id_of(accurate)
        page.get_by_role("link", name=re.compile("Activate … fast")).click()
        page.get_by_role("button", name="Activate").click()
        expect(page.get_by_role("status").first).to_have_text("The model serves.")
        assert serving(running) == id_of(fast)

        page.get_by_role("link", name="Roll back").click()
        page.get_by_role("heading", name=re.compile("Roll back to accurate")).wait_for()
        page.get_by_role("button", name="Roll back").click()
        expect(page.get_by_role("status").first).to_have_text("The model serves.")
        assert serving(running) == id_of(accurate)

        opened.go(f"/models/{id_of(fast)}/retire")
        page.get_by_role("button", name="Retire").click()
        expect(page.get_by_role("status").first).to_have_text("The model is retired.")
        expect(page.locator("tbody .state.retired")).to_have_count(1)


def test_a_confirmation_that_another_activation_overtook_asks_again(
    window: Open, tmp_path: Path, artifact_path: Path, fast: bytes
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        added = running.client.post("/admin/models", content=fast, headers={"Content-Type": "application/octet-stream"})
        opened = window(running)
        opened.sign_in(running.key, f"/models/{added.json()['id']}/activate")
        running.client.post(f"/admin/models/{id_of(fast)}/activate")
        opened.expect(409)
        opened.page.get_by_role("button", name="Activate").click()
        expect(opened.page.get_by_role("alert")).to_contain_text("in the meantime")


def test_a_key_is_made_used_and_revoked(window: Open, lived_in: RunningServer) -> None:
    admin = window()
    admin.sign_in(lived_in.key, "/keys")
    admin.page.get_by_label("Name").fill("Dr. <i>Zoë</i>")
    admin.page.get_by_label("Role").select_option("read")
    admin.page.get_by_label("Expires after, days").fill("30")
    admin.page.get_by_role("button", name="Create the key").click()
    key = admin.page.locator("#new-key").inner_text()
    admin.go("/keys")
    assert key not in admin.page.content()

    other = window()
    other.sign_in(key)
    assert other.heading == "Cases"
    assert other.page.locator("header nav a").all_inner_texts() == ["Slides", "Cases", "Agreement"]
    other.expect(403)
    assert other.go("/keys").status == 403
    expect(other.page.get_by_role("alert")).to_contain_text("role is read")

    admin.page.get_by_role("link", name="Revoke the key of Dr. <i>Zoë</i>").click()
    admin.page.get_by_role("button", name="Revoke").click()
    expect(admin.page.get_by_role("status")).to_contain_text("The key is revoked")
    other.go("/cases")
    expect(other.page.get_by_role("status")).to_contain_text("Your session has ended")


def test_the_trail_is_verified_against_a_head(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.sign_in(lived_in.key, "/audit")
    head = lived_in.client.get("/admin/audit/head").json()["head"]
    for given, said in ((head, "contains the given head"), ("7:" + "0" * 64, "this is another history")):
        opened.page.get_by_label("Head that was kept elsewhere").fill(given)
        opened.page.get_by_role("button", name="Verify the trail").click()
        expect(opened.page.locator(".said")).to_contain_text(said)


def test_everything_is_reached_with_the_keyboard(window: Open, lived_in: RunningServer) -> None:
    opened = window()
    opened.go("/")
    field = opened.page.locator("#key")
    expect(field).to_be_focused()
    opened.page.keyboard.type(lived_in.key)
    expect(field).to_have_value(lived_in.key)
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("heading", name="Classify patches").wait_for()
    reached = []
    for _ in range(16):
        opened.page.keyboard.press("Tab")
        focused = opened.page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e.id === 'files'"
            " ? document.querySelector('.choose') : e); return [e.id || e.textContent.trim(), s.outlineStyle]; }"
        )
        reached.append(focused)
    names = [name for name, _ in reached]
    assert names[0] == "Skip to the content"
    assert {"Diagnose", "Slides", "Cases", "Agreement", "Models", "Keys", "Audit", "Status", "Sign out"} <= set(names)
    order = [names.index(name) for name in ("files", "case", "slide", "mpp", "rotations")]
    assert order == sorted(order)
    assert [name for name, outline in reached if outline != "solid"] == []
