"""People sign in at npm's `oidc-provider`, through its pages."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.access.caller import Role
from app.oidc.attempt import COOKIE, Attempt
from app.oidc.provider import Provider
from app.problems import LastAdminKey, SignInRefused
from tests.app.conftest import TESTER, assert_problem
from tests.oidc.conftest import Site, client_of, onward, state_of
from tests.oidc.loop import run
from tests.oidc.real import walk


def assert_refused(response: httpx.Response, status: int, text: str) -> None:
    """The response is a page that says why, and neither a session nor the attempt is left in the browser."""
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert text in response.text
    assert "rosette_session" not in response.headers.get("set-cookie", "")
    assert f'{COOKIE}=""' in response.headers["set-cookie"]


def test_a_provider_that_says_nothing_stops_nobody_else(site: Site) -> None:
    assert site.silent.status_code == 503
    assert "The identity provider did not answer" in site.silent.text
    assert "sign in with a key" in site.silent.text
    assert [response.status_code for response in site.meanwhile] == [200, 303]


def test_the_role_comes_from_the_claim(site: Site) -> None:
    with site.browser() as browser:
        shown = browser.get(f"{site.rosette.url}/login?next=/status")
        assert 'href="/login/oidc?next=%2Fstatus"' in shown.text
        assert "Sign in with your organization" in shown.text
        began = browser.get(f"{site.rosette.url}/login/oidc")
        asked = parse_qs(urlsplit(began.headers["location"]).query)
        assert (asked["response_type"], asked["code_challenge_method"]) == (["code"], ["S256"])
        assert {"state", "nonce", "code_challenge"} <= set(asked)
        attributes = set(began.headers["set-cookie"].split("; ")[1:])
        assert attributes == {"HttpOnly", "Max-Age=600", "Path=/login/oidc", "SameSite=lax"}
        entered = site.sign_in(browser, "ada", "/cases?decision=review")
        assert onward(entered) == "/cases?decision=review"
        assert {"HttpOnly", "SameSite=strict"} <= set(entered.headers["set-cookie"].split(", ")[0].split("; "))
        page = browser.get(site.rosette.url + onward(entered)).text
        assert "Ada Grünwald" in page
        assert '<small class="role">pathologist</small>' in page
        assert browser.get(f"{site.rosette.url}/keys").status_code == 403
    person = site.person("ada")
    assert (person["role"], person["name"], person["issuer"]) == ("pathologist", "Ada Grünwald", site.provider.issuer)
    who = f"Ada Grünwald ({person['id']})"
    assert [(row["action"], row["who"], row["address"]) for row in site.told(2)] == [
        ("session.open", who, "127.0.0.1"),
        ("key.create", who, "127.0.0.1"),
    ]
    assert 'rosette_sign_ins_total{result="opened"}' in site.rosette.client.get("/metrics").text


def test_the_role_is_read_at_every_sign_in(site: Site) -> None:
    with site.browser() as first, site.browser() as second:
        site.sign_in(first, "eve")
        before = site.person("eve")
        site.change("eve", roles=["readers"], name="Eve B.")
        assert onward(site.sign_in(second, "eve")) == "/cases"
        after = site.person("eve")
        assert (after["id"], after["role"], after["name"]) == (before["id"], "read", before["name"])
        assert [row["action"] for row in site.told(2)] == ["session.open", "key.role"]
        assert '<small class="role">read</small>' in first.get(f"{site.rosette.url}/cases").text
        site.change("eve", roles=[])
        with site.browser() as third:
            assert_refused(site.sign_in(third, "eve"), 403, "it gives you no role here")
        assert [row["action"] for row in site.told(3)] == ["session.close"] * 2 + ["session.refuse"]
        for browser in (first, second):
            assert browser.get(f"{site.rosette.url}/cases").status_code == 303


def test_without_a_role_nobody_enters(site: Site) -> None:
    with site.browser() as browser:
        refused = site.sign_in(browser, "guest")
        assert_refused(refused, 403, "ask those who manage your account there")
        assert browser.get(f"{site.rosette.url}/cases").status_code == 303
    [row] = site.told(1)
    assert (row["action"], row["after"]["reason"], row["after"]["subject"]) == ("session.refuse", "no-role", "guest")
    assert all(key["subject"] != "guest" for key in site.rosette.client.get("/admin/keys").json()["keys"])
    assert 'rosette_sign_ins_total{result="no-role"}' in site.rosette.client.get("/metrics").text


def test_a_person_has_no_key(site: Site) -> None:
    with site.browser() as browser:
        site.sign_in(browser, "root")
        person = site.person("root")
        assert person["role"] == "admin"
        for guess in ("A" * 43, "0" * 64, "None", ""):
            with site.rosette.client_of(f"rsk_{person['id']}_{guess}") as client:
                assert_problem(client.get("/predictions"), 401, "unauthorized")
        assert_problem(site.rosette.client.post(f"/admin/keys/{person['id']}/rotate", json={}), 409, "has-no-key")
        with pytest.raises(LastAdminKey):
            site.rosette.services.keys.revoke(site.rosette.key[4:16], TESTER)
        own = site.rosette.client.post(f"/admin/keys/{site.rosette.key[4:16]}/enable")
        assert_problem(own, 409, "is-no-person")
        keys = browser.get(f"{site.rosette.url}/keys").text
        people = keys[keys.index(">People<") :]
        assert site.provider.issuer in people
        assert f"/keys/{person['id']}/revoke" in people


def test_a_disabled_person_is_out_at_once_and_can_be_enabled(site: Site) -> None:
    with site.browser() as admin, site.browser() as browser:
        site.sign_in(admin, "root")
        site.sign_in(browser, "dan")
        person = site.person("dan")
        asked = admin.get(f"{site.rosette.url}/keys/{person['id']}/revoke").text
        assert "Disable Dan?" in asked
        csrf = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', asked)[0]}
        done = admin.post(f"{site.rosette.url}/keys/{person['id']}/revoke", data=csrf)
        assert done.headers["location"] == "/keys?done=disabled"
        assert browser.get(f"{site.rosette.url}/cases").status_code == 303
        assert_refused(site.sign_in(browser, "dan"), 403, "An administrator of this server has disabled your access")
        closed, refused = site.told(2)
        assert (closed["action"], refused["after"]["reason"]) == ("session.close", "disabled")
        done = admin.post(f"{site.rosette.url}/keys/{person['id']}/enable", data=csrf)
        assert done.headers["location"] == "/keys?done=enabled"
        assert site.told(1)[0]["action"] == "key.enable"
        assert browser.get(f"{site.rosette.url}/cases").status_code == 303, "no session comes back to life"
        assert onward(site.sign_in(browser, "dan")) == "/"
        path = f"{site.rosette.url}/admin/keys/{person['id']}/enable"
        assert_problem(site.rosette.client.post(path), 409, "person-enabled")


def test_signing_out_also_ends_the_providers_session(site: Site) -> None:
    with site.browser() as browser:
        site.sign_in(browser, "ada")
        page = browser.get(f"{site.rosette.url}/cases").text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        left = browser.post(f"{site.rosette.url}/logout", data={"csrf": csrf})
        assert site.told(1)[0]["action"] == "session.close"
        assert onward(left).startswith(f"{site.provider.issuer}/session/end?")
        asked = browser.get(onward(left)).text
        xsrf = re.findall(r'name="xsrf" value="([^"]*)"', asked)[0]
        ended = browser.post(f"{site.provider.issuer}/session/end/confirm", data={"xsrf": xsrf, "logout": "yes"})
        assert ended.headers["location"] == f"{site.rosette.url}/login/oidc/out"
        assert "You have signed out." in browser.get(ended.headers["location"], follow_redirects=True).text
        again = browser.get(f"{site.rosette.url}/login/oidc", follow_redirects=True)
        assert 'name="login"' in again.text, "the provider asks for the password again"


def test_what_does_not_belong_to_this_browsers_attempt_is_refused(site: Site) -> None:
    with site.browser() as browser, site.browser() as other:
        theirs = site.walked(other, "root")
        assert_refused(browser.get(theirs), 403, "This browser did not begin this sign-in")
        ours = site.walked(browser, "ada")
        assert_refused(browser.get(theirs), 403, "belongs to another sign-in")
        assert_refused(browser.get(ours), 403, "This browser did not begin this sign-in")

        sealed = str(browser.get(f"{site.rosette.url}/login/oidc").cookies[COOKIE])
        state = state_of(browser.get(f"{site.rosette.url}/login/oidc").headers["location"])
        for cookie in (sealed[:-6] + "AAAAA=", "x", ""):
            other.cookies.set(COOKIE, cookie)
            tampered = other.get(site.callback, params={"state": state, "code": "c"})
            assert_refused(tampered, 403, "This browser did not begin this sign-in")


def test_a_code_is_used_once(site: Site) -> None:
    with site.browser() as browser:
        arrived = site.walked(browser, "ada")
        cookie = _cookie(browser.cookies[COOKIE])
        assert onward(httpx.get(arrived, headers=cookie)) == "/"
        assert_refused(httpx.get(arrived, headers=cookie), 403, "did not accept the code")


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"iss": "https://other.example.org"}, 403, "comes from another identity provider"),
        ({"iss": ""}, 403, "comes from another identity provider"),
        ({"iss": None}, 403, "comes from another identity provider"),
        ({"error": "access_denied", "error_description": "<script>alert(1)</script>"}, 403, "did not sign you in"),
        ({"code": ""}, 403, "did not sign you in"),
        ({"code": "x" * 5000}, 403, "did not sign you in"),
        ({"code": "guessed"}, 403, "did not accept the code"),
        ({"state": ["a", "b"]}, 422, "repeats a parameter"),
    ],
)
def test_odd_answers_sign_nobody_in(site: Site, changes: dict[str, Any], status: int, text: str) -> None:
    with site.browser() as browser:
        began = browser.get(f"{site.rosette.url}/login/oidc")
        sent: dict[str, Any] = {
            "state": state_of(began.headers["location"]),
            "code": "c",
            "iss": site.provider.issuer,
        } | changes
        given = httpx.QueryParams({name: value for name, value in sent.items() if value is not None})
        response = browser.get(f"{site.callback}?{given}")
        assert_refused(response, status, text)
        assert "<script>alert" not in response.text


def test_other_sites_can_neither_begin_a_sign_in_nor_name_where_it_leads(site: Site) -> None:
    with site.browser() as browser:
        for page in ("cross-site", "same-site"):
            begun = browser.get(f"{site.rosette.url}/login/oidc", headers={"Sec-Fetch-Site": page})
            assert (begun.status_code, begun.headers["location"]) == (303, "/login")
        for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "/docs", "/login/oidc/callback"):
            assert onward(site.sign_in(browser, "ada", target)) == "/"


def test_the_session_from_before_ends(site: Site) -> None:
    with site.browser() as browser:
        browser.post(f"{site.rosette.url}/login", data={"key": site.rosette.new_key(Role.READ)})
        old = {"Cookie": f"rosette_session={browser.cookies['rosette_session']}", "Accept": "text/html"}
        site.sign_in(browser, "ada")
        assert browser.cookies["rosette_session"] not in old["Cookie"]
        assert httpx.get(f"{site.rosette.url}/cases", headers=old).status_code == 303


def test_a_provider_that_hangs_during_the_exchange(site: Site, png: bytes) -> None:
    with site.browser() as browser, ThreadPoolExecutor(1) as threads:
        arrived = site.walked(browser, "ada")
        os.kill(site.provider.process.pid, signal.SIGSTOP)
        try:
            asked = threads.submit(browser.get, arrived)
            answered = site.rosette.client.post("/predict", content=png, headers={"Content-Type": "image/png"})
            assert answered.status_code == 200
            assert_refused(asked.result(), 503, "The identity provider did not answer")
        finally:
            os.kill(site.provider.process.pid, signal.SIGCONT)
        assert onward(site.sign_in(browser, "ada")) == "/"


@pytest.mark.parametrize(
    ("client_id", "later_s", "nonce", "why"),
    [
        ("rosette", 0, "", ""),
        ("rosette", 7200, "", "ExpiredTokenError"),
        ("rosette", 0, "another", "InvalidClaimError"),
        ("weak", 0, "", "UnsupportedAlgorithmError"),
    ],
)
def test_real_tokens_are_checked(
    site: Site, secret_file: Path, client_id: str, later_s: float, nonce: str, why: str
) -> None:
    client = client_of(site.provider.issuer, secret_file, oidc_client_id=client_id)
    provider = Provider(client, lambda: time.time() + later_s)
    attempt = Attempt.begin("", "")

    async def address() -> str:
        return await provider.address(attempt, site.callback)

    with site.browser() as browser:
        arrived = walk(browser, run(address), "ada", site.callback)
    expected = Attempt(attempt.state, nonce or attempt.nonce, attempt.verifier, "", "")
    code = parse_qs(urlsplit(arrived).query)["code"][0]
    if not why:
        identity = run(provider.person, expected, code, site.callback)
        assert (identity.issuer, identity.subject, identity.role) == (site.provider.issuer, "ada", Role.PATHOLOGIST)
        return
    with pytest.raises(SignInRefused, match=why) as refused:
        run(provider.person, expected, code, site.callback)
    assert refused.value.reason == "wrong-token"


def test_what_a_person_does_is_recorded_as_a_keys_work(site: Site, png: bytes) -> None:
    with site.browser() as browser:
        site.sign_in(browser, "ada")
        page = browser.get(f"{site.rosette.url}/").text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        headers = {"X-CSRF-Token": csrf, "Content-Type": "application/octet-stream"}
        answered = browser.post(f"{site.rosette.url}/diagnose", content=png, headers=headers)
        [asked] = re.findall(r'data-id="([^"]+)"', answered.text)
        judged = browser.post(f"{site.rosette.url}/cases/{asked}/review", data={"csrf": csrf, "verdict": "agree"})
        assert judged.status_code == 303
        assert asked in browser.get(f"{site.rosette.url}/cases/log").text
        assert "Ada Grünwald" in browser.get(f"{site.rosette.url}/cases/export.csv").text
    person = site.person("ada")
    [review] = site.rosette.client.get(f"/predictions/{asked}/reviews").json()["reviews"]
    assert review["reviewer"] == f"Ada Grünwald ({person['id']})"
    assert site.rosette.client.get("/agreement").status_code == 200
    assert site.rosette.client.get("/worklist").status_code == 200
    assert site.rosette.client.get("/predictions", params={"key": person["id"]}).json()["predictions"][0]["id"] == asked
    assert site.rosette.client.get("/admin/audit/verify").json()["whole"] is True


def _cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={value}", "Accept": "text/html"}
