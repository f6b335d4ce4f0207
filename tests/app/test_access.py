"""Default deny: every route needs a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.caller import Role
from app.web.paths import is_page
from tests.app.conftest import RunningServer, assert_problem

OPEN = {
    "/v2/health/live",
    "/v2/health/ready",
    "/livez",
    "/readyz",
    "/docs",
    "/openapi.json",
    "/docs/assets/{name}",
    "/login",
    "/login/oidc",
    "/login/oidc/callback",
    "/login/oidc/out",
    "/static/{name}",
}


def routes(router: Any) -> Iterator[tuple[str, str]]:
    """Every method and path of a router and of those included in it."""
    for route in router.routes:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router)
        else:
            yield from ((method, route.path) for method in route.methods or {"GET"})


def test_every_route_but_the_open_ones_needs_a_key(server: RunningServer) -> None:
    closed = sorted({(method, path) for method, path in routes(server.app) if path not in OPEN})
    assert {path for _, path in closed} >= {"/predict", "/predictions", "/predictions/{prediction_id}", "/admin/keys"}
    with server.client_of("rsk_000000000000_" + "A" * 43) as stranger, httpx.Client(base_url=server.url) as nobody:
        for method, path in closed:
            concrete = re.sub(r"\{[^}]*\}", "x", path)
            for client in (stranger, nobody):
                response = client.request(method, concrete)
                assert_problem(response, 401, "unauthorized") if method != "HEAD" else response
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Bearer")


def test_every_route_is_described_with_its_key(server: RunningServer) -> None:
    described = server.client.get("/openapi.json").json()["paths"]
    for method, path in set(routes(server.app)):
        if path not in OPEN and not is_page(path):
            assert described[path][method.lower()]["security"] == [{"key": []}]


@pytest.mark.parametrize("role", sorted({*Role} - {Role.ADMIN}))
def test_admin_routes_are_for_admins(server: RunningServer, role: Role) -> None:
    closed = sorted({(method, path) for method, path in routes(server.app) if path.startswith("/admin/")})
    assert ("POST", "/admin/keys") in closed
    with server.new_client(role) as client:
        for method, path in closed:
            response = client.request(method, re.sub(r"\{[^}]*\}", "x", path))
            assert response.status_code == 403, (method, path)
            if method != "HEAD":
                assert f"The key's role is {role}" in assert_problem(response, 403, "forbidden")["detail"]


@pytest.mark.parametrize(
    ("role", "ask", "read"),
    [
        (Role.PREDICT, 415, 200),
        (Role.PATHOLOGIST, 415, 200),
        (Role.READ, 403, 200),
        (Role.REVIEW, 403, 200),
        (Role.METRICS, 403, 403),
        (Role.ADMIN, 415, 200),
    ],
)
def test_roles_on_predictions(server: RunningServer, role: Role, ask: int, read: int) -> None:
    with server.new_client(role) as client:
        assert client.post("/predict").status_code == ask
        assert client.get("/predictions").status_code == read


def test_open_routes_need_no_key(server: RunningServer) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
        assert httpx.get(server.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/docs/", "/livez/", "/docs/assets", "/predict/", "//livez", "/admin"])
def test_paths_that_do_not_exist_are_not_told_to_strangers(server: RunningServer, path: str) -> None:
    assert_problem(httpx.get(server.url + path), 401, "unauthorized")
    assert_problem(server.client.get(server.url + path), 404, "not-found")


@pytest.mark.parametrize("path", ["/docs/assets/nope.js", "/docs/assets/..%2f..%2fmain.py", "/docs/assets/a/b"])
def test_only_two_files_are_assets(server: RunningServer, path: str) -> None:
    assert_problem(httpx.get(server.url + path), 404, "not-found")


def test_other_methods_are_problems(server: RunningServer) -> None:
    response = server.client.get("/predict")
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Basic dXNlcjpwYXNz")],
        [("Authorization", b"Bearer \xff\xfe\xe4")],
        [("Authorization", "Bearer " + "x" * 20_000)],
        [("Authorization", "Bearer rsk_000000000000_" + "A" * 43)],
        [("X-Api-Key", "x")],
    ],
)
def test_odd_headers_are_unauthorized(server: RunningServer, headers: list[tuple[str, str | bytes]]) -> None:
    raw = [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers]
    assert_problem(httpx.get(f"{server.url}/predictions", headers=raw), 401, "unauthorized")


def test_two_keys_are_none(server: RunningServer) -> None:
    value = f"Bearer {server.key}"
    response = httpx.get(f"{server.url}/predictions", headers=[("Authorization", value), ("Authorization", value)])
    assert "2 Authorization headers" in assert_problem(response, 401, "unauthorized")["detail"]


def test_the_scheme_may_be_written_in_any_case(server: RunningServer) -> None:
    headers = {"Authorization": f"bEARER {server.key}"}
    assert httpx.get(f"{server.url}/predictions", headers=headers).status_code == 200


def test_an_own_admin_key_and_closed_documentation(tmp_path: Path, artifact_path: Path) -> None:
    own = "correct horse battery staple, with Ümlaut"
    file = tmp_path / "own.key"
    file.write_text(own, encoding="utf-8")
    with RunningServer(tmp_path / "home", artifact_path, admin_key_file=file, docs=False) as running:
        headers = [(b"Authorization", b"Bearer " + own.encode())]
        assert httpx.get(f"{running.url}/predictions", headers=headers).status_code == 200
        assert not (tmp_path / "home" / "admin.key").exists()
        for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
            assert_problem(httpx.get(running.url + path), 401, "unauthorized")
            assert_problem(httpx.get(running.url + path, headers=headers), 404, "not-found")
