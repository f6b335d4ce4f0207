"""With a prefix, everything that a browser follows begins with it, and headers do not change it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from app.prefix import without
from app.settings import Settings
from tests.app.conftest import RunningServer

ROOT_PATH = "/clinic/rosette"
PAGES = ["/", "/ui/slides", "/cases", "/models", "/keys", "/audit", "/status"]
LINK = re.compile(r'\b(?:href|action|src)="([^"#]*)')


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, root_path=ROOT_PATH) as running:
        yield running


@pytest.fixture(params=[ROOT_PATH, ""], ids=["the proxy leaves it", "the proxy takes it away"])
def below(request: pytest.FixtureRequest) -> str:
    """What the proxy puts before a path."""
    found: str = request.param
    return found


@pytest.fixture
def browser(prefixed: RunningServer, below: str) -> Iterator[httpx.Client]:
    """Signed in; cookies are sent by hand, since a proxy that takes the prefix away hides the cookie's path."""
    with httpx.Client(base_url=prefixed.url, trust_env=False, timeout=30, headers={"Accept": "text/html"}) as client:
        response = client.post(f"{below}/login", data={"key": prefixed.key, "next": "/cases?label=metastasis"})
        assert response.headers["location"] == f"{ROOT_PATH}/cases?label=metastasis"
        cookie = response.headers["set-cookie"]
        assert f"Path={ROOT_PATH};" in cookie
        client.cookies.clear()
        client.headers["Cookie"] = cookie.partition(";")[0]
        yield client


def links(html: str) -> list[str]:
    return [link for link in LINK.findall(html) if link and not link.startswith(("data:", "blob:"))]


@pytest.mark.parametrize("path", PAGES)
def test_every_link_of_a_page_begins_with_the_prefix(browser: httpx.Client, below: str, path: str) -> None:
    page = browser.get(f"{below}{path}")
    assert page.status_code == 200
    found = links(page.text)
    assert len(found) > 8
    assert [link for link in found if not link.startswith(f"{ROOT_PATH}/")] == []
    assert f'data-root="{ROOT_PATH}"' in page.text
    for link in {link for link in found if "/static/" in link or link.removeprefix(ROOT_PATH) in PAGES}:
        assert browser.get(below + link.removeprefix(ROOT_PATH)).status_code == 200


def test_a_model_and_its_confirmation_do(browser: httpx.Client, prefixed: RunningServer, below: str) -> None:
    model_id = prefixed.services.model.sha256
    for path in (f"/models/{model_id}", f"/models/{model_id}/activate", f"/models/{model_id}/retire", "/models/{0}"):
        page = browser.get(f"{below}{path}")
        assert page.status_code in {200, 404}
        assert [link for link in links(page.text) if not link.startswith(f"{ROOT_PATH}/")] == []


def test_whoever_has_not_signed_in_is_sent_below_the_prefix(prefixed: RunningServer, below: str) -> None:
    headers = {"Accept": "text/html", "X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil"}
    response = httpx.get(f"{prefixed.url}{below}/cases", headers=headers, trust_env=False)
    assert response.headers["location"] == f"{ROOT_PATH}/login?next=%2Fcases"
    page = httpx.get(f"{prefixed.url}{below}/login", headers=headers, trust_env=False).text
    assert "evil" not in page
    assert [link for link in links(page) if not link.startswith(f"{ROOT_PATH}/")] == []


def test_the_documentation_works_there(prefixed: RunningServer, below: str) -> None:
    page = httpx.get(f"{prefixed.url}{below}/docs", trust_env=False)
    assert [link for link in links(page.text) if not link.startswith(f"{ROOT_PATH}/")] == []
    assert f'url: "{ROOT_PATH}/openapi.json"' in page.text
    schema = httpx.get(f"{prefixed.url}{below}/openapi.json", trust_env=False, timeout=120).json()
    assert schema["servers"] == [{"url": ROOT_PATH}]


def test_patches_are_answered_there(prefixed: RunningServer, below: str, png: bytes) -> None:
    answer = prefixed.client.post(f"{below}/predict", content=png, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    assert prefixed.client.get(f"{below}/predictions/{answer.json()['id']}").json() == answer.json()


def test_without_a_prefix_nothing_changes(server: RunningServer) -> None:
    page = httpx.get(f"{server.url}/login", headers={"X-Forwarded-Prefix": "/evil"}, trust_env=False).text
    assert 'data-root=""' in page
    assert 'action="/login"' in page
    assert "servers" not in httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    assert server.client.get(f"{ROOT_PATH}/predictions").status_code == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b", "/"), ("/a/b/", "/"), ("/a/b/cases", "/cases"), ("/a/bc", "/a/bc"), ("/cases", "/cases"), ("/a", "/a")],
)
def test_only_the_whole_prefix_is_taken_away(path: str, expected: str) -> None:
    assert without("/a/b", path) == expected


@pytest.mark.parametrize(
    "root",
    ["rosette", "/rosette/", "//evil", "/a b", '/"', "/models", "/acceptance", "/predict/x", "/..", "/é"],
)
def test_what_is_no_prefix_is_refused(tmp_path: Path, root: str) -> None:
    with pytest.raises(ValidationError, match="is no path such as /rosette"):
        Settings(home=tmp_path, root_path=root)


def test_a_slash_is_no_prefix(tmp_path: Path) -> None:
    assert Settings(home=tmp_path, root_path="/").root_path is None
