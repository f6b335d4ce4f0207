"""Acceptance tests on the page: the same rule and report as by the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from app.access.caller import Role
from model_zoo.acceptance import AcceptanceReport
from model_zoo.synthetic import Kind
from tests.app.conftest import RunningServer
from tests.installed import rosette
from tests.web.conftest import MAX_PAGE_BYTES, Open, payload, png_of
from tests.web.test_figures import token

Visit = Callable[..., httpx.Client]
Fields = list[tuple[str, tuple[str, bytes]]]

EACH = 50
NO_PATCH = b"%PDF-1.7"


@pytest.fixture(scope="module")
def site() -> dict[str, dict[str, bytes]]:
    """Files by class: 50 and 50 patches, and a letter."""
    kinds: tuple[Kind, Kind] = ("tumour", "normal")
    found: dict[str, dict[str, bytes]] = {
        kind: {f"{number}.png": png_of(kind, number) for number in range(EACH)} for kind in kinds
    }
    found["normal"]["letter.png"] = NO_PATCH
    return found


def recorded(server: RunningServer) -> int:
    return len(server.client.get("/admin/acceptance").json()["acceptance_tests"])


def active(server: RunningServer) -> str:
    """Where the active model is tested."""
    return f"/acceptance?model={server.client.get('/admin/models').json()['active']}"


def test_a_site_is_tested_in_the_browser_as_by_the_command(
    window: Open, lived_in: RunningServer, artifact_path: Path, tmp_path: Path, site: dict[str, dict[str, bytes]]
) -> None:
    opened = window(width=360)
    page = opened.page
    opened.sign_in(lived_in.key, "/acceptance")
    expect(page.get_by_text("AUC: lower 95 % bound at least")).to_be_visible()
    page.get_by_role("button", name="Run the test").click()
    expect(page.locator("#doing")).to_have_text("Choose the files first.")
    for label, kind in (("Patches with tumour", "tumour"), ("Patches without tumour", "normal")):
        page.get_by_label(label).set_input_files([payload(name, data) for name, data in site[kind].items()])
        expect(page.locator("#chosen")).to_contain_text("at least 30 of each" if kind == "tumour" else "50 with and 51")
    page.locator("#test").get_by_label("Site").fill("Ward <7>")
    page.get_by_role("button", name="Run the test").click()
    page.locator("[data-outcome]").wait_for()
    expect(page.locator("#steps li.failed")).to_contain_text("normal/letter.png The body is a PDF file")
    assert (opened.fits(), opened.barriers(), opened.weight < MAX_PAGE_BYTES) == (True, [], True)
    page.get_by_role("link", name="Open the report").click()
    page.get_by_role("heading", name="Conditions").wait_for()
    assert (opened.fits(), opened.barriers()) == (True, [])
    expect(page.get_by_role("button", name="Print")).to_be_visible()

    test = lived_in.client.get(f"/admin/acceptance/{page.url.rpartition('/')[2]}").json()
    [row] = lived_in.client.get("/admin/audit", params={"action": "model.acceptance", "limit": 1}).json()["entries"]
    assert (json.loads(row["after"])["acceptance"], row["who"]) == (test["id"], test["tested_by"])
    for kind, files in site.items():
        (tmp_path / kind).mkdir()
        for name, data in files.items():
            (tmp_path / kind / name).write_bytes(data)
    file = tmp_path.parent / f"{tmp_path.name}.json"
    code = 0 if test["outcome"] == "passed" else 1
    said = rosette("acceptance", tmp_path, "--model", artifact_path, "--no-record", "--json", file, code=code)
    assert "normal/letter.png: The body is a PDF file" in " ".join(said.split())
    by_command = AcceptanceReport.model_validate_json(file.read_bytes())
    by_page = AcceptanceReport.model_validate(test["report"])
    assert by_page.site == "Ward <7>"
    source = by_page.data.model_copy(update={"source": by_command.data.source})
    assert by_page.model_copy(update={"site": "", "data": source}) == by_command


def patches(number: int, field: str = "file") -> Fields:
    return [(field, (f"{each}.png", b"x")) for each in range(number)]


def rows(*lines: str) -> Fields:
    return [("labels", ("list.csv", "\r\n".join(("file,label", *lines)).encode()))]


FULL = tuple(f"{n}.png,{n % 2}" for n in range(100))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (patches(40, "tumour") + patches(40, "normal"), "number of patches is 80 (40 negative, 40 positive)"),
        (patches(90, "tumour") + patches(20, "normal"), "at least 30 of each label"),
        (patches(501), "More than 500 patches were chosen"),
        ([("normal", ("", b""))] * 506, "More than 500 patches were chosen"),
        (patches(1) + patches(1, "normal"), "Files were chosen in both ways"),
        (patches(100), "The CSV file with the labels was not chosen"),
        (rows(*FULL) + patches(99), "list.csv line 101 names the file &#39;99.png&#39;, which was not chosen"),
        (rows(*FULL) + patches(101), "list.csv has no row for the file 100.png"),
        (rows(*FULL, "7.png,1") + patches(100), "line 102 names the file &#39;7.png&#39;, as does line 9"),
        (
            [("labels", ("list.csv", b"file;label\n"))],
            "list.csv lacks the column file and the column label: begin it with",
        ),
        (rows("0.png,stroma") + patches(100), "list.csv line 2: the label is &#39;stroma&#39;"),
        (rows(*FULL) + patches(100) + patches(1), "two of the chosen files are called 0.png"),
        (rows(*FULL) * 2 + patches(100), "2 CSV files were chosen"),
        ([("labels", ("list.csv", b"file,label\n\xff"))], "list.csv is not CSV in UTF-8"),
        ([("tumour", ("huge.png", bytes(2**20 + 1)))], "huge.png has over 1048576 bytes"),
        ([("tumour", ("", b""))], "number of patches is 0"),
        ([("else", ("a.png", b"x"))], "The form&#39;s field is named &#39;else&#39;"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_stored(
    lived_in: RunningServer, visitor: Visit, files: Fields, said: str
) -> None:
    admin, before = visitor(), recorded(lived_in)
    headers = {"X-CSRF-Token": token(admin, "/acceptance")}
    sent = admin.post(active(lived_in), files=files, data={"site": "A"}, headers=headers)
    assert (sent.status_code, 'data-outcome="refused"' in sent.text) == (200, True)
    assert said in sent.text
    assert recorded(lived_in) == before


def test_files_that_are_no_patches_fail_the_test_and_each_is_named(lived_in: RunningServer, visitor: Visit) -> None:
    admin = visitor()
    other = next(each for each in lived_in.client.get("/admin/models").json()["models"] if each["state"] == "shadow")
    path = f"/acceptance?model={other['id']}"
    assert f"The rule for {other['name']} {other['version']}" in admin.get(path).text
    headers = {"X-CSRF-Token": token(admin, path)}
    files = rows(*FULL) + patches(100)
    sent = admin.post(path, files=files, data={"site": "A", "mpp": "ignore"}, headers=headers)
    assert 'data-outcome="failed"' in sent.text
    newest = lived_in.client.get("/admin/acceptance").json()["acceptance_tests"][0]
    assert (newest["model_sha256"], newest["outcome"]) == (other["id"], "failed")
    unknown = admin.post("/acceptance?model=x", files=files, data={"site": "A"}, headers=headers)
    assert 'data-outcome="refused"' in unknown.text
    assert admin.get("/acceptance?model=x").status_code == 404
    assert sent.text.count("counts as refused") == 100
    assert 'data-done="100" data-all="100"' in sent.text


def test_only_administrators_and_their_pages_run_tests(lived_in: RunningServer, visitor: Visit) -> None:
    admin, reviewer = visitor(), visitor(Role.REVIEW)
    assert admin.post(active(lived_in), files=patches(1), data={"site": ""}).status_code == 403
    headers = {"X-CSRF-Token": token(admin, "/acceptance")}
    assert reviewer.post(active(lived_in), files=patches(1), headers=headers).status_code == 403
    for wrong in ({"site": "a\x07"}, {"site": "A" * 121}, {"mpp": "x", "site": ""}):
        sent = admin.post(active(lived_in), files=patches(100, "tumour"), data=wrong, headers=headers)
        assert 'data-outcome="refused"' in sent.text
    assert 'data-outcome="refused"' in admin.post(active(lived_in), data={"site": "A"}, headers=headers).text
