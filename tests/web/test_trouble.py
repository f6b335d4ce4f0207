"""The pages during failures of the server."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from app.access.caller import Role
from app.registry import vetting
from tests.app.conftest import RunningServer, all_at_work
from tests.web.conftest import Open, payload, png_of, signed_in


def token(client: httpx.Client) -> str:
    found: str = re.findall(r'name="csrf" value="([^"]+)"', client.get("/", follow_redirects=True).text)[0]
    return found


def test_a_busy_server_is_asked_again(window: Open, tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", artifact_path, inference_processes=1, queue=0) as running:
        opened = window(running)
        opened.sign_in(running.key)
        with all_at_work(running, png_of("normal", 3)):
            with opened.page.expect_response("**/diagnose?*") as first:
                opened.page.set_input_files("#files", [payload("patch.png", png_of("normal", 2))])
            assert first.value.headers["x-rosette-outcome"] == "refused"
            assert first.value.headers["retry-after"] == "1"
            expect(opened.page.locator(".outcome")).to_have_text("running …")
        expect(opened.page.locator(".answer .word")).to_have_text("Negative")
        assert running.recorded() == 2


def test_a_server_that_is_gone_is_told_and_can_be_tried_again(
    window: Open, tmp_path: Path, artifact_path: Path
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        opened = window(running)
        opened.sign_in(running.key)
        opened.page.route("**/diagnose?*", lambda route: route.abort())
        opened.page.set_input_files("#files", [payload("patch.png", png_of("normal", 2))])
        expect(opened.page.locator(".refusal")).to_have_text("The server cannot be reached. Try again.")
        opened.page.unroute("**/diagnose?*")
        opened.page.get_by_role("button", name="Try again").click()
        expect(opened.page.locator(".answer .word")).to_have_text("Negative")
        opened.page.get_by_role("button", name="Clear the list").click()
        expect(opened.page.locator("#empty")).to_be_visible()
        assert [error for error in opened.errors if "ERR_FAILED" not in error] == []
        opened.errors.clear()


def test_an_ended_session_is_noticed_while_asking(window: Open, tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        opened = window(running)
        opened.sign_in(running.key)
        opened.context.clear_cookies()
        opened.expect(401)
        opened.page.set_input_files("#files", [payload("patch.png", png_of("normal", 2))])
        expect(opened.page.get_by_role("status")).to_contain_text("Your session has ended")
        assert running.recorded() == 0


def test_a_server_without_a_model_says_so_on_its_pages(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with (
        RunningServer(tmp_path / "home", missing) as running,
        closing(signed_in(running, running.key)) as client,
    ):
        for path in ("/", "/models", "/status"):
            response = client.get(path)
            assert response.status_code == 200
            assert str(missing) in response.text, path
        assert "No model is active" in client.get("/models").text
        headers = {"X-CSRF-Token": token(client), "Content-Type": "application/octet-stream"}
        asked = client.post("/diagnose", content=png_of("normal", 2), headers=headers)
        assert (asked.headers["x-rosette-outcome"], "retry-after" in asked.headers) == ("refused", False)
        assert "No model is loaded" in asked.text


def test_an_upload_waits_for_no_other(tmp_path: Path, artifact_path: Path, fast: bytes) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        with closing(signed_in(running, running.key)) as client:
            headers = {"X-CSRF-Token": token(client), "Content-Type": "application/octet-stream"}
            running.services.vetting.acquire_on_behalf_of_nowait("another upload")
            busy = client.post("/models/upload", content=fast, headers=headers)
            assert "Another artifact is being vetted" in busy.text
            running.services.vetting.release_on_behalf_of("another upload")
            empty = client.post("/models/upload", content=b"", headers=headers)
            assert 'data-outcome="refused"' in empty.text
            assert "The artifact is empty" in empty.text
            lines = client.post("/models/upload", content=fast, headers=headers).text.splitlines()
            assert len(lines) > 5
            assert all(line.startswith("<li") and line.endswith("</li>") for line in lines)
            assert 'data-outcome="admitted"' in lines[-1]
            again = client.post("/models/upload", content=fast, headers=headers).text.splitlines()
            assert "The same bytes are stored already." in again[-1]
        assert running.services.vetting.borrowed_tokens == 0


def test_a_machine_that_cannot_vet_says_so(
    tmp_path: Path, artifact_path: Path, fast: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetting, "CHILD", (str(tmp_path / "no-such-program"),))
    with (
        RunningServer(tmp_path / "home", artifact_path) as running,
        closing(signed_in(running, running.key)) as client,
    ):
        headers = {"X-CSRF-Token": token(client), "Content-Type": "application/octet-stream"}
        said = client.post("/models/upload", content=fast, headers=headers).text
        assert "Artifacts cannot be vetted on this server" in said
        assert len(running.client.get("/admin/models").json()["models"]) == 1


def test_records_that_fail_are_told_in_a_page(tmp_path: Path, artifact_path: Path) -> None:
    with (
        RunningServer(tmp_path / "home", artifact_path) as running,
        closing(signed_in(running, running.key)) as client,
    ):
        with closing(sqlite3.connect(tmp_path / "home" / "rosette.db", isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            status = client.get("/status")
            assert status.status_code == 200
            assert "Degraded" in status.text
            assert "disk, 0 so far. They move to the database by themselves." in status.text
            outside.execute("ROLLBACK")
            outside.execute("DROP TABLE keys")
            outside.execute("DROP TABLE sessions")
        response = client.get("/cases/log")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert response.headers["content-type"].startswith("text/html")
        assert client.post("/login", data={"key": running.key}).status_code == 503


def test_an_answer_of_a_model_that_is_gone_is_shown_without_its_limits(
    tmp_path: Path, artifact_path: Path, fast: bytes
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        asked = running.client.post("/predict", content=png_of("tumour", 4), headers={"Content-Type": "image/png"})
        with running.services.database.begin() as connection:
            text = asked.text.replace(asked.json()["model"]["sha256"], "0" * 64)
            connection.exec_driver_sql("UPDATE predictions SET answer = ?", (text,))
        with closing(signed_in(running, running.new_key(Role.READ))) as client:
            page = client.get(f"/cases/{asked.json()['id']}").text
            assert "0.832" in page
            assert "review band" not in page
            compared = client.get(f"/cases/compare?a={asked.json()['id']}&b={asked.json()['id']}")
            assert "same pixels" in compared.text
