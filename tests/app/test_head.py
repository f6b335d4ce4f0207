"""``HEAD`` is supported wherever ``GET`` is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.access.caller import Role
from app.access.sessions import COOKIE
from app.main import create_app
from app.settings import Settings
from app.web.paths import is_page
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded

CHANGING = {"date", "x-request-id", "content-length"}  # figures and times differ from one answer to the next


def paths() -> list[str]:
    """Every path that answers GET, pages and documentation included."""
    routes: list[Any] = list(create_app(Settings()).routes)
    included = [each for route in routes if hasattr(route, "original_router") for each in route.original_router.routes]
    return sorted(each.path for each in routes + included if "GET" in (getattr(each, "methods", None) or ()))


@pytest.fixture(scope="module")
def values(server: RunningServer) -> dict[str, str]:
    """What stands in paths."""
    files = {"file": encoded(synthetic_patch("tumour", 7))}
    return {
        "prediction_id": server.client.post("/predict?rotations=none", files=files).json()["id"],
        "model_id": server.client.get("/admin/models").json()["models"][0]["id"],
        "key_id": server.client.get("/admin/keys").json()["keys"][0]["id"],
        "name": "rosette.css",
        "slide_id": "0" * 32,
        **dict.fromkeys(("run_id", "acceptance_id"), "00000000-0000-7000-8000-000000000000"),  # there is none
        "version": "1.0.0",
        **dict.fromkeys(("level", "column", "row"), "0"),
    }


@pytest.fixture(scope="module")
def browser(server: RunningServer) -> Iterator[httpx.Client]:
    """Signed in as an administrator."""
    with server.client_of("") as client:
        client.headers = httpx.Headers({"Accept": "text/html"})
        client.post("/login", data={"key": server.new_key(Role.ADMIN)}, headers={"Origin": server.url})
        assert COOKIE in client.cookies
        yield client


def test_there_are_routes_of_every_kind() -> None:
    assert set(paths()) >= {"/livez", "/metrics", "/predictions", "/", "/login", "/cases", "/docs", "/openapi.json"}


@pytest.mark.parametrize("path", paths())
def test_head_is_get_without_a_body(
    server: RunningServer, browser: httpx.Client, values: dict[str, str], path: str
) -> None:
    client = browser if is_page(path) else server.client
    url = path.format(**values)
    got, head = client.get(url), client.head(url)
    assert head.status_code == got.status_code
    assert head.content == b""
    same = {name: value for name, value in got.headers.items() if name not in CHANGING}
    same.pop("transfer-encoding", None)  # a body of unknown length, which HEAD has not
    assert {name: value for name, value in head.headers.items() if name not in CHANGING} == same


@pytest.mark.parametrize("path", ["/predict", "/admin/models/rollback", "/nowhere"])
def test_where_get_is_refused_head_is_too(server: RunningServer, path: str) -> None:
    assert server.client.head(path).status_code == server.client.get(path).status_code in (404, 405)


def test_a_key_is_needed_for_head_too(server: RunningServer) -> None:
    assert httpx.head(f"{server.url}/predictions").status_code == 401


def test_the_connection_goes_on_after_head(server: RunningServer) -> None:
    """A body would be taken for the beginning of the next answer."""
    ask = "{} /livez HTTP/1.1\r\nHost: x\r\n{}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall((ask.format("HEAD", "") + ask.format("GET", "Connection: close\r\n")).encode())
        with connection.makefile("rb") as stream:
            answer = stream.read()
    assert answer.count(b"HTTP/1.1 200") == 2
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"content-length: " in head.lower()
    assert rest.startswith(b"HTTP/1.1 200")


def test_the_log_names_method_and_route(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "rosette.access"):
        server.client.head("/admin/keys")
        server.client.get("/livez")  # on the same connection, which is read when the request before has ended
    assert any(record.getMessage().startswith("HEAD /admin/keys 200") for record in caplog.records)
