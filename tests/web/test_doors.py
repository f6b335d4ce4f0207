"""Access to the pages, and attacks on browsers."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.access.caller import Role
from app.web.paths import local
from app.web.rendering import POLICY
from tests.app.conftest import TESTER, RunningServer, assert_problem
from tests.app.test_exports import exports_in_the_trail
from tests.web.conftest import newest, png_of, signed_in

Visit = Callable[..., httpx.Client]

HTML = {"Accept": "text/html"}
NOBODY = "rsk_000000000000_" + "A" * 43
EVERY_PAGE = ("/", "/ui/slides", "/cases", "/ui/agreement", "/models", "/models/rollback", "/keys", "/audit", "/status")


def token(client: httpx.Client) -> str:
    """The session's token, out of the form for signing out that every page has."""
    page = client.get("/", follow_redirects=True).text
    [found] = {*re.findall(r'name="csrf" value="([^"]+)"', page)}
    return str(found)


@pytest.mark.parametrize("path", EVERY_PAGE)
def test_without_a_session_a_browser_is_sent_to_sign_in(lived_in: RunningServer, path: str) -> None:
    response = httpx.get(lived_in.url + path, headers=HTML)
    assert response.status_code == 303
    target = urlsplit(response.headers["location"])
    assert (target.netloc, target.path) == ("", "/login")
    assert parse_qs(target.query).get("next", ["/"]) == [path]
    assert_problem(httpx.get(lived_in.url + path), 401, "unauthorized")


@pytest.mark.parametrize("path", EVERY_PAGE)
def test_a_key_does_not_open_pages(lived_in: RunningServer, path: str) -> None:
    assert_problem(lived_in.client.get(path), 401, "unauthorized")


def test_a_session_does_not_open_the_api(lived_in: RunningServer, visitor: Visit) -> None:
    client = visitor(Role.ADMIN)
    assert client.get("/").status_code == 200
    for path in ("/predictions", "/admin/keys", "/admin/models", "/admin/audit"):
        assert_problem(client.get(path, headers={"Accept": "application/json"}), 401, "unauthorized")
        page = client.get(path)
        assert (page.status_code, "This address is for programs" in page.text) == (401, True)
        assert page.headers["content-type"].startswith("text/html")
    assert_problem(client.post("/predict", content=b"x", headers={"Content-Type": "image/png"}), 401, "unauthorized")


def test_an_address_that_does_not_exist_is_a_page_for_people_alone(lived_in: RunningServer, visitor: Visit) -> None:
    client = visitor(Role.READ)
    for path in ("/nonsense", "/nonsense/deep", "/cases/a/b/c", "/predictions/a/b/c", "/favicon.txt"):
        page = client.get(path)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8"), path
        assert "There is no page at this address" in page.text
        assert ">Sign out<" in page.text
        if not path.startswith("/cases/"):
            assert_problem(lived_in.client.get(path, headers=HTML), 404, "not-found")
    refused = client.get("/logout")
    assert (refused.status_code, "only receives a form" in refused.text) == (405, True)
    assert refused.headers["content-type"].startswith("text/html")
    said = {httpx.get(lived_in.url + path, headers=HTML).text for path in ("/nonsense", "/predictions", "/admin/keys")}
    assert len(said) == 1, "strangers are told which addresses exist"
    assert '<a class="button" href="/login">Sign in</a>' in said.pop()


@pytest.mark.parametrize(
    ("role", "first", "open_pages"),
    [
        (Role.PREDICT, "/", {"/", "/ui/slides", "/cases"}),
        (Role.PATHOLOGIST, "/", {"/", "/ui/slides", "/cases"}),
        (Role.READ, "/cases", {"/ui/slides", "/cases", "/ui/agreement"}),
        (Role.REVIEW, "/cases", {"/ui/slides", "/cases", "/ui/agreement"}),
        (Role.METRICS, "/status", {"/status"}),
        (Role.ADMIN, "/", {*EVERY_PAGE} - {"/models/rollback"}),
    ],
)
def test_roles_see_their_pages_and_no_other(
    lived_in: RunningServer, visitor: Visit, role: Role, first: str, open_pages: set[str]
) -> None:
    with httpx.Client(base_url=lived_in.url) as client:
        entered = client.post("/login", data={"key": lived_in.new_key(role)})
        assert (entered.status_code, entered.headers["location"]) == (303, first)
    client = visitor(role)
    statuses = {path: client.get(path).status_code for path in EVERY_PAGE}
    assert {path for path, status in statuses.items() if status == 200} == open_pages
    refused = 409 if role is Role.ADMIN else 403
    assert {status for path, status in statuses.items() if path not in open_pages} <= {refused, 303}
    shown = client.get(first).text
    links = set(re.findall(r"<nav[^>]*>(.*?)</nav>", shown, re.DOTALL)[0].split('"')) & {*EVERY_PAGE}
    assert links == open_pages


@pytest.mark.parametrize("role", sorted({*Role} - {Role.ADMIN}))
def test_what_a_role_may_not_do_is_refused(lived_in: RunningServer, visitor: Visit, role: Role) -> None:
    client = visitor(role)
    sent = {"csrf": token(client)}
    model = lived_in.client.get("/admin/models").json()["active"]
    for path in (
        f"/keys/{lived_in.key[4:16]}/enable",
        "/keys", f"/keys/{lived_in.key[4:16]}/revoke", "/models/rollback", f"/models/{model}/activate",
        f"/models/{model}/retire", f"/models/{model}/shadow", "/models/shadow/stop", "/models/upload",
        f"/keys/{lived_in.key[4:16]}/replace", "/status/test-webhook", "/acceptance",
        "/acceptance/verdicts",
    ):  # fmt: skip
        assert client.post(path, data=sent).status_code == 403, path
    for path in (f"/models/{model}", f"/models/{model}/file", f"/models/{model}/activate"):
        assert client.get(path).status_code == 403, path
    review = client.post(f"/cases/{newest(lived_in)}/review", data=sent | {"verdict": ""})
    assert review.status_code == (422 if role is Role.REVIEW else 404 if role is Role.PATHOLOGIST else 403)
    asked = client.post("/diagnose", content=b"", headers={"X-CSRF-Token": sent["csrf"]})
    assert asked.status_code == (200 if role in {Role.PREDICT, Role.PATHOLOGIST} else 403)
    export = client.get("/cases/export.csv").status_code
    assert export == (200 if role in {Role.PATHOLOGIST, Role.READ, Role.REVIEW} else 403)


def test_a_key_of_role_predict_sees_its_own_answers_alone(lived_in: RunningServer, visitor: Visit, png: bytes) -> None:
    client = visitor(Role.PREDICT)
    other = newest(lived_in)
    assert "There are no answers yet." in client.get("/cases").text
    assert client.get(f"/cases/{other}").status_code == 404
    assert client.get(f"/cases/compare?a={other}&b={other}").status_code == 404
    assert "There are no answers yet" in client.get(f"/cases/log?key={lived_in.key[4:16]}").text or other not in (
        client.get(f"/cases/log?key={lived_in.key[4:16]}").text
    )
    headers = {"X-CSRF-Token": token(client), "Content-Type": "application/octet-stream"}
    answered = client.post("/diagnose", content=png, headers=headers)
    assert answered.headers["x-rosette-outcome"] == "answered"
    [own] = re.findall(r'data-id="([^"]+)"', answered.text)
    assert own in client.get("/cases/log").text
    assert "Your review" not in client.get(f"/cases/{own}").text


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "/%09/evil.example", "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "cases", "evil.example",
        "/cases\r\nSet-Cookie: a=b", "/docs", "/login", "/cases/../../", "/\x00", "http:/cases", "/ /evil.example",
        "/cases@evil.example/..//x", "https:cases",
    ],
)  # fmt: skip
def test_no_other_place_can_be_named_to_go_to_after_signing_in(lived_in: RunningServer, target: str) -> None:
    with httpx.Client(base_url=lived_in.url, headers=HTML) as client:
        page = client.get("/login", params={"next": target})
        [kept] = re.findall(r'name="next" value="([^"]*)"', page.text)
        assert kept == "" or kept.startswith("/cases")
        entered = client.post("/login", data={"key": lived_in.key, "next": target})
        arrived = httpx.URL(lived_in.url).join(entered.headers["location"])
        assert (arrived.host, arrived.port) == ("127.0.0.1", lived_in.port)
        assert entered.headers["location"] == "/" or entered.headers["location"].startswith("/cases")
        assert [name for name in entered.headers.get_list("set-cookie") if not name.startswith("rosette_session")] == []


def test_pages_here_can_be_named(lived_in: RunningServer) -> None:
    for target in ("/", "/cases?decision=review&sort=oldest", "/models/abc", "/status"):
        assert local(target) == target


def test_a_request_from_another_site_changes_nothing(lived_in: RunningServer, visitor: Visit) -> None:
    client = visitor(Role.ADMIN)
    sent = {"csrf": token(client), "name": "stolen", "role": "admin"}
    before = len(lived_in.client.get("/admin/keys").json()["keys"])
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        assert client.post("/keys", data=sent, headers=headers).status_code == 403
        assert client.post("/login", data={"key": lived_in.key}, headers=headers).status_code == 403
        assert client.post("/diagnose", headers={"X-CSRF-Token": sent["csrf"]} | headers).status_code == 403
    for wrong in ({"csrf": ""}, {"csrf": "x" * 43}, {"csrf": "ü"}):
        assert client.post("/keys", data=sent | wrong).status_code == 403
        assert client.post("/diagnose", headers=[(b"X-CSRF-Token", wrong["csrf"].encode())]).status_code == 403
    other = visitor(Role.ADMIN)
    assert client.post("/keys", data=sent | {"csrf": token(other)}).status_code == 403
    assert len(lived_in.client.get("/admin/keys").json()["keys"]) == before + 1  # the other visitor's
    ours = {"Origin": lived_in.url}
    assert client.post("/keys", data=sent, headers=ours).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"key=a&key=b", "application/x-www-form-urlencoded", 422),
        (b"key=a&else=b", "application/x-www-form-urlencoded", 422),
        (b"key=%ff", "application/x-www-form-urlencoded", 422),
        (b"key", "application/x-www-form-urlencoded", 422),
        (b"", "application/x-www-form-urlencoded", 401),
        (b"key=" + b"a" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"key=%00%0d%0a", "application/x-www-form-urlencoded", 401),
    ],
)
def test_odd_forms_are_refused(lived_in: RunningServer, content: bytes, media_type: str, status: int) -> None:
    response = httpx.post(f"{lived_in.url}/login", content=content, headers=HTML | {"Content-Type": media_type})
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    assert "Traceback" not in response.text


@pytest.mark.parametrize("cookie", ["", "x", "ü", "a" * 5000, '"', "%00", "; rosette_session=x"])
def test_odd_cookies_open_nothing(lived_in: RunningServer, cookie: str) -> None:
    headers = [(b"accept", b"text/html"), (b"cookie", f"rosette_session={cookie}".encode())]
    assert httpx.get(f"{lived_in.url}/cases", headers=headers).status_code == 303


def test_wrong_keys_at_the_page_are_slowed(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", artifact_path, failed_tries=2) as running:
        for _ in range(2):
            assert httpx.post(f"{running.url}/login", data={"key": NOBODY}, headers=HTML).status_code == 401
        for key in (NOBODY, running.new_key(Role.READ)):
            response = httpx.post(f"{running.url}/login", data={"key": key}, headers=HTML)
            assert response.status_code == 429
            assert response.headers["retry-after"] in {"5", "6"}
            assert "Try again in" in response.text
        assert_problem(
            httpx.get(f"{running.url}/predictions", headers={"Authorization": f"Bearer {NOBODY}"}),
            429,
            "too-many-tries",
        )


def test_the_cookie_is_secure_where_the_request_was(tmp_path: Path, artifact_path: Path) -> None:
    with RunningServer(tmp_path / "home", artifact_path, trusted_proxies="127.0.0.1") as running:
        for proto, secure in (("http", False), ("https", True)):
            response = httpx.post(
                f"{running.url}/login", data={"key": running.key}, headers={"X-Forwarded-Proto": proto}
            )
            cookie = response.headers["set-cookie"]
            assert ("; Secure" in cookie) is secure
            assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))


def test_a_session_dies_with_its_key(lived_in: RunningServer) -> None:
    made = lived_in.services.keys.add(Role.READ, "leaver", TESTER)
    with closing(signed_in(lived_in, made.key)) as client:
        assert client.get("/cases").status_code == 200
        lived_in.client.post(f"/admin/keys/{made.id}/revoke")
        assert client.get("/cases").headers["location"] == "/login?next=%2Fcases&ended=1"


def test_what_pages_say_is_escaped(lived_in: RunningServer, visitor: Visit) -> None:
    client = visitor(Role.ADMIN)
    evil = '"><script>alert(1)</script>'
    made = client.post("/keys", data={"csrf": token(client), "name": evil, "role": "read"})
    for page in (
        made,
        client.get("/keys"),
        client.get("/audit"),
        client.get("/cases", params={"case_id": evil}),
        client.get("/audit", params={"verify": "1", "head": evil}),
        client.get("/cases/" + evil.replace("/", "")),
    ):
        assert "<script>alert" not in page.text
        assert "alert(1)" in page.text


def test_every_page_carries_the_headers_and_the_notice(lived_in: RunningServer, visitor: Visit) -> None:
    client = visitor(Role.ADMIN)
    for path in (
        "/login",
        "/",
        "/cases",
        f"/cases/{newest(lived_in)}",
        "/models",
        "/keys",
        "/audit",
        "/status",
        "/cases/x",
    ):
        response = client.get(path)
        assert response.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "Research use only. Not a medical device" in response.text
        assert not re.search(r"\sstyle=|<style|<script>|\son[a-z]+=|javascript:", response.text), path
        assert not re.search(r'(?:src|href|action)="(?!/|#)', response.text), path


def test_files_are_kept_by_browsers_under_their_version(lived_in: RunningServer) -> None:
    page = httpx.get(f"{lived_in.url}/login").text
    files = set(re.findall(r'"(/static/[^"]+)"', page))
    assert len(files) == 2
    for file in files:
        kept = httpx.get(lived_in.url + file)
        assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert httpx.get(lived_in.url + file.partition("?")[0]).headers["cache-control"] == "no-cache"
    for name in ("nope.js", "..%2fpages.py", "%2e%2e/pages.py", "a/b"):
        assert httpx.get(f"{lived_in.url}/static/{name}").status_code in {401, 404}


@pytest.mark.parametrize(
    "query",
    [
        "case_id=a%20b",
        "model=UPPER",
        "patch=12",
        "since=yesterday",
        "until=9999-12-31",
        "decision=maybe",
        "label=x",
        "key=%2F",
    ],
)
def test_a_filter_that_does_not_fit_is_told(visitor: Visit, query: str) -> None:
    response = visitor(Role.ADMIN).get(f"/cases/log?{query}")
    assert response.status_code == 422
    assert 'role="alert"' in response.text


@pytest.mark.parametrize("query", ["nope=1", "decision=review&decision=negative"])
def test_a_filter_that_is_unknown_or_doubled_is_refused(visitor: Visit, query: str) -> None:
    assert visitor(Role.ADMIN).get(f"/cases/log?{query}").status_code == 422
    assert visitor(Role.ADMIN).get(f"/cases/export.csv?{query}").status_code == 422


@pytest.mark.parametrize("query", ["cursor=x", "sort=deviation&cursor=-1", "sort=deviation&cursor=99999", "sort=x"])
def test_an_odd_cursor_or_order_is_said_above_the_first_page(visitor: Visit, query: str) -> None:
    response = visitor(Role.ADMIN).get(f"/cases/log?{query}")
    assert (response.status_code, response.text.count("The list is shown without it.")) == (422, 1)
    assert response.text.count('name="a"') > 5


def test_the_log_is_paged_in_every_order(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running:
        for _ in range(53):
            params = {"rotations": "none"}
            running.client.post("/predict", params=params, content=png, headers={"Content-Type": "image/png"})
        with closing(signed_in(running, running.key)) as client:
            for order in ("newest", "oldest", "probability", "deviation"):
                first = client.get("/cases/log", params={"sort": order}).text
                [following] = re.findall(r'rel="next" href="([^"]+)"', first)
                second = client.get(following.replace("&amp;", "&")).text
                ids = [re.findall(r'href="/cases/([0-9a-f-]{36})"', page) for page in (first, second)]
                assert [len(page) for page in ids] == [50, 3]
                assert len({*ids[0], *ids[1]}) == 53
                assert 'rel="next"' not in second


@pytest.mark.parametrize(
    "form",
    [{"verdict": ""}, {"verdict": "maybe"}, {"verdict": "agree", "note": "x" * 4001}, {"verdict": "agree", "n": "x"}],
)
def test_a_judgement_that_does_not_fit_stores_nothing(
    lived_in: RunningServer, visitor: Visit, form: dict[str, str]
) -> None:
    asked = lived_in.client.post("/predict", content=png_of("blank", 3), headers={"Content-Type": "image/png"}).json()
    client, case = visitor(Role.REVIEW), asked["id"]
    response = client.post(f"/cases/{case}/review", data=form | {"csrf": token(client)})
    assert response.status_code == 422
    assert lived_in.client.get(f"/predictions/{case}/reviews").json()["reviews"] == []


@pytest.mark.parametrize("form", [{"days": "0"}, {"days": "x"}, {"days": "36501"}, {"role": "root"}, {"name": " "}])
def test_a_key_that_does_not_fit_is_not_made(lived_in: RunningServer, visitor: Visit, form: dict[str, str]) -> None:
    client = visitor(Role.ADMIN)
    before = len(lived_in.client.get("/admin/keys").json()["keys"])
    sent = {"csrf": token(client), "name": "somebody", "role": "read", "days": ""} | form
    assert client.post("/keys", data=sent).status_code == 422
    assert len(lived_in.client.get("/admin/keys").json()["keys"]) == before


def test_an_upload_with_a_wrong_head_is_refused_before_it_is_read(visitor: Visit) -> None:
    client = visitor(Role.ADMIN)
    headers = {"X-CSRF-Token": token(client), "Content-Type": "text/plain"}
    response = client.post("/models/upload", content=b"x" * 1000, headers=headers)
    assert 'data-outcome="refused"' in response.text
    assert client.post("/models/upload", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/audit?cursor=x", 422),
        ("/audit?verify=1&head=x", 422),
        ("/cases/compare?a=x", 422),
        ("/cases/00000000-0000-7000-8000-000000000000", 404),
        ("/cases/export.jsonl?model=UPPER", 422),
        ("/models/none", 404),
        ("/models/none/activate", 404),
        ("/keys/none/revoke", 404),
        ("/keys/none/replace", 404),
        ("/keys?nope=1", 422),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_a_page(visitor: Visit, path: str, status: int) -> None:
    response = visitor(Role.ADMIN).get(path)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    assert 'role="alert"' in response.text


def test_exports_are_those_of_the_api(lived_in: RunningServer, visitor: Visit) -> None:
    client, before = visitor(Role.READ), len(exports_in_the_trail(lived_in, 0))
    for suffix in ("csv", "jsonl"):
        theirs = lived_in.client.get(f"/predictions/export.{suffix}", params={"case_id": "case-2"})
        assert client.get(f"/cases/export.{suffix}", params={"case_id": "case-2"}).content == theirs.content
    told = exports_in_the_trail(lived_in, before + 4)
    assert {entry.subject for entry in told[:4] if entry.who.startswith("a test's read key")} == {"csv", "jsonl"}


def test_nothing_is_judged_that_was_not_answered(visitor: Visit) -> None:
    client = visitor(Role.REVIEW)
    sent = {"csrf": token(client), "verdict": "agree"}
    assert client.post("/cases/00000000-0000-7000-8000-000000000000/review", data=sent).status_code == 404


def test_a_roll_back_that_was_overtaken_asks_again(tmp_path: Path, artifact_path: Path, fast: bytes) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as running, closing(signed_in(running, running.key)) as client:
        first = running.client.get("/admin/models").json()["active"]
        headers = {"Content-Type": "application/octet-stream"}
        second = running.client.post("/admin/models", content=fast, headers=headers).json()["id"]
        running.client.post(f"/admin/models/{second}/activate")
        sent = {"csrf": token(client), "active": second, "model": first}
        assert client.post("/models/rollback", data=sent | {"active": first}).status_code == 409
        assert running.client.get("/admin/models").json()["active"] == second
        assert client.post("/models/rollback", data=sent).status_code == 303
        assert running.client.get("/admin/models").json()["active"] == first


def test_where_the_database_lies_is_for_admins(lived_in: RunningServer, visitor: Visit) -> None:
    place = str(lived_in.settings.home)
    assert place in visitor(Role.ADMIN).get("/status").text
    assert place not in visitor(Role.METRICS).get("/status").text
