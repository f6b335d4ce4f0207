"""The picture beside a recorded answer is that answer's patch, or none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from app.access.caller import Role
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded
from tests.conftest import shipped_artifact
from tests.web.conftest import Open, newest, payload, png_of, signed_in
from tests.web.test_doors import token


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_only_the_answers_own_picture_is_shown_and_judged(
    window: Open, lived_in: RunningServer, file_format: str
) -> None:
    image = encoded(synthetic_patch("normal", 21), file_format)
    headers = {"Content-Type": f"image/{file_format.lower()}"}
    answer = lived_in.client.post("/predict", content=image, headers=headers).json()
    opened = window()
    opened.sign_in(lived_in.new_key(Role.REVIEW), f"/cases/{answer['id']}")
    page = opened.page
    picture, refusal, store = (
        page.locator("[data-patch]"),
        page.locator("#wrong-picture"),
        page.get_by_role("button", name="Store", exact=True),
    )
    page.get_by_label("Agree", exact=True).check()
    page.set_input_files("#picture", [payload("other.png", png_of("normal", 22))])
    expect(refusal).to_contain_text("other.png is not the patch of this answer")
    expect(refusal).to_contain_text(answer["patch"]["sha256"])
    expect(picture).to_be_hidden()
    expect(store).to_be_disabled()
    page.set_input_files("#picture", [payload("own", image, f"image/{file_format.lower()}")])
    expect(picture).to_be_visible()
    expect(refusal).to_be_hidden()
    store.click()
    expect(page.get_by_role("status")).to_have_text("Your review is stored.")
    assert page.locator("[data-picture]").evaluate_all("fields => fields.map((field) => field.value)") == [
        "",
        "",
    ]  # none is shown after a reload


def test_a_form_about_another_picture_stores_nothing(
    lived_in: RunningServer, visitor: Callable[..., httpx.Client]
) -> None:
    client = visitor(Role.REVIEW)
    case = newest(lived_in, case_id="case-2")
    sent = {"csrf": token(client), "verdict": "agree", "picture": "0" * 64}
    before = lived_in.client.get(f"/predictions/{case}/reviews").json()
    refused = client.post(f"/cases/{case}/review", data=sent)
    assert refused.status_code == 422
    assert "Choose the file that was classified" in refused.text
    assert lived_in.client.get(f"/predictions/{case}/reviews").json() == before


@pytest.mark.parametrize(("name", "disc"), [("balanced", True), ("fast", False)])
def test_the_disc_is_drawn_where_the_model_sees_nothing_else(tmp_path: Path, png: bytes, name: str, disc: bool) -> None:
    with RunningServer(tmp_path, shipped_artifact(name=name)) as running:
        answer = running.client.post("/predict", content=png, headers={"Content-Type": "image/png"}).json()
        with closing(signed_in(running, running.key)) as browser:
            page = browser.get(f"/cases/{answer['id']}").text
    assert ("Disc: what the model sees." in page, "The model sees the whole patch." in page) == (disc, not disc)
    assert ('class="outside"' in page) == disc
