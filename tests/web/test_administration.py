"""Keys are replaced and webhooks tested on the pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
from playwright.sync_api import expect

from app.access.caller import Role
from tests.app.conftest import TESTER, RunningServer
from tests.web.conftest import MAX_PAGE_BYTES, Open
from tests.web.test_figures import token

Visit = Callable[..., httpx.Client]


def test_a_key_is_replaced_and_the_new_one_shown_once(window: Open, lived_in: RunningServer) -> None:
    old = lived_in.services.keys.add(Role.READ, "Dr. B. Ölmez", TESTER)
    opened = window(width=360)
    page = opened.page
    opened.sign_in(lived_in.key, "/keys")
    page.get_by_role("link", name="Replace the key of Dr. B. Ölmez").click()
    page.get_by_role("heading", name="Replace the key of Dr. B. Ölmez?").wait_for()
    assert (opened.fits(), opened.barriers(), opened.weight < MAX_PAGE_BYTES) == (True, [], True)
    page.get_by_label("Days until the old key ends").fill("3")
    page.get_by_role("button", name="Replace").click()
    new = page.locator("#new-key").inner_text()
    expect(page.locator(".made")).to_contain_text(f"The old key, {old.id}, ends at")
    assert (opened.fits(), opened.barriers()) == (True, [])
    for key in (old.key, new):
        with lived_in.client_of(key) as client:
            assert client.get("/predictions").status_code == 200
    keys = {each["id"]: each for each in lived_in.client.get("/admin/keys").json()["keys"]}
    ends = datetime.fromisoformat(keys[old.id]["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < ends < timedelta(days=3)
    assert (keys[new[4:16]]["name"], keys[new[4:16]]["role"]) == ("Dr. B. Ölmez", "read")
    [row] = lived_in.client.get("/admin/audit", params={"action": "key.rotate", "limit": 1}).json()["entries"]
    assert (row["subject"], json.loads(row["after"])["replaced_by"]) == (old.id, new[4:16])
    opened.go("/keys")
    assert new not in page.content()
    row = page.get_by_role("row").filter(has_text=old.id)
    expect(row).to_contain_text("valid replaced")
    assert (row.get_by_text("Replace …").count(), row.get_by_text("Revoke …").count()) == (0, 1)
    opened.expect(409)
    assert opened.go(f"/keys/{old.id}/replace").status == 409
    assert opened.heading == "The key was replaced already"
    expect(page.get_by_role("alert")).to_contain_text(f"replace its successor, the key {new[4:16]}")


def test_what_cannot_be_replaced_says_why(lived_in: RunningServer, visitor: Visit) -> None:
    admin, key = visitor(), lived_in.services.keys.add(Role.READ, "Leaver", TESTER)
    csrf = token(admin, f"/keys/{key.id}/replace")
    for days in ("0", "366", "x", ""):
        refused = admin.post(f"/keys/{key.id}/replace", data={"csrf": csrf, "days": days})
        assert (refused.status_code, "from 1 to 365" in refused.text) == (422, True)
    lived_in.services.keys.revoke(key.id, TESTER)
    refused = admin.post(f"/keys/{key.id}/replace", data={"csrf": csrf, "days": "7"})
    assert (refused.status_code, "so it cannot be replaced: create a key" in refused.text) == (409, True)
    for path, said in (("replace", "so it cannot be replaced: create a key"), ("revoke", "Leaver was revoked")):
        page = admin.get(f"/keys/{key.id}/{path}")
        assert (page.status_code, said in page.text, 'name="days"' in page.text) == (409, True, False)
        assert f'action="/keys/{key.id}' not in page.text


def test_the_status_says_how_a_webhook_is_set(lived_in: RunningServer, visitor: Visit) -> None:
    admin = visitor()
    assert "Set ROSETTE_WEBHOOK_URL" in admin.get("/status").text
    refused = admin.post("/status/test-webhook", data={"csrf": token(admin, "/status")})
    assert (refused.status_code, "No webhook is set" in refused.text) == (409, True)
    assert "ROSETTE_WEBHOOK_URL" not in visitor(Role.METRICS).get("/status").text
