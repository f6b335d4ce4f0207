"""Signing in again in the same browser, and idempotency keys of batches."""

from __future__ import annotations

import httpx

from app.access.caller import Role
from app.access.sessions import COOKIE
from tests.app.conftest import RunningServer, assert_problem

PNG = {"Content-Type": "image/png"}


def test_a_second_sign_in_ends_the_first_session_of_that_browser(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as browser:
        first_key, second_key = server.new_key(Role.READ), server.new_key(Role.READ)
        browser.post("/login", data={"key": first_key, "next": ""})
        first = browser.cookies[COOKIE]
        other = httpx.post(f"{server.url}/login", data={"key": first_key, "next": ""}, trust_env=False)
        browser.post("/login", data={"key": second_key, "next": ""})
        second = browser.cookies[COOKIE]
        assert first != second
        assert browser.get("/cases").status_code == 200
    for token, status in ((first, 401), (second, 200), (other.cookies[COOKIE], 200)):
        cookies = {"Cookie": f"{COOKIE}={token}"}
        assert httpx.get(f"{server.url}/cases", headers=cookies, trust_env=False).status_code == status
    last = [entry.action for entry in server.services.audit.page(2).entries]
    assert last == ["session.close", "session.open"]


def test_a_refused_sign_in_leaves_the_session(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as browser:
        browser.post("/login", data={"key": server.new_key(Role.READ), "next": ""})
        assert browser.post("/login", data={"key": "wrong", "next": ""}).status_code == 401
        assert browser.get("/cases").status_code == 200


def test_a_patch_of_a_batch_and_a_single_request_are_different_requests(server: RunningServer, png: bytes) -> None:
    batch = server.client.post(
        "/predict/batch", files=[("file", png)], params={"rotations": "none"}, headers={"Idempotency-Key": "K"}
    )
    [in_batch] = batch.json()["results"]
    for key in ("K:0", "K"):
        single = server.client.post(
            "/predict", content=png, params={"rotations": "none"}, headers=PNG | {"Idempotency-Key": key}
        )
        assert single.status_code == 200
        assert "idempotency-replayed" not in single.headers
        assert single.json()["id"] != in_batch["id"]
    refused = server.client.post("/predict", content=png, headers=PNG | {"Idempotency-Key": "K 0"})
    assert_problem(refused, 422, "invalid-parameter")
    again = server.client.post(
        "/predict/batch", files=[("file", png)], params={"rotations": "none"}, headers={"Idempotency-Key": "K"}
    )
    assert again.content == batch.content
