"""The snippets of docs/proxies.md with real nginx, Apache and Caddy, if installed."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from tests.app.conftest import RunningServer, assert_problem
from tests.conftest import ROOT

MEBIBYTE = 2**20
PREFIX = "/rosette"

NGINX = """
daemon off; user root root; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{ listen 127.0.0.1:{port};
{snippet}
    }}
}}
"""
APACHE = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/log
{modules}
{snippet}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
{snippet}
}}
"""
APACHE_MODULES = ["mpm_event", "authz_core", "proxy", "proxy_http", "headers"]


def snippet(language: str, port: int) -> str:
    text = (ROOT / "docs" / "proxies.md").read_text(encoding="utf-8")
    [found] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found).replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def command_of(name: str, folder: Path, port: int, server_port: int) -> list[str]:
    """Writes a proxy's configuration and gives what starts it."""
    file = folder / "configuration"
    given = {"folder": folder, "port": port}
    if name == "nginx":
        file.write_text(NGINX.format(snippet=snippet("nginx", server_port), **given))
        return ["nginx", "-p", str(folder), "-e", str(folder / "log"), "-c", str(file)]
    if name == "apache2":
        modules = Path("/usr/lib/apache2/modules")
        loaded = "\n".join(f"LoadModule {each}_module {modules}/mod_{each}.so" for each in APACHE_MODULES)
        file.write_text(APACHE.format(snippet=snippet("apache", server_port), modules=loaded, **given))
        return ["apache2", "-D", "FOREGROUND", "-f", str(file)]
    file.write_text(CADDY.format(snippet=snippet("caddy", server_port), **given))
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with RunningServer(home, artifact_path, root_path=PREFIX, trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture(params=["nginx", "apache2", "caddy"], scope="module")
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, behind: RunningServer
) -> Iterator[httpx.Client]:
    """A client of the proxy, with the admin's key."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: on Debian, the package of that name (of nginx, nginx-light)")
    folder, port = tmp_path_factory.mktemp(name), free_port()
    command = command_of(name, folder, port, behind.port)
    with (
        (folder / "err").open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            deadline = monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "err").read_text()
                    assert monotonic() < deadline
            key = {"Authorization": f"Bearer {behind.key}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key, trust_env=False, timeout=60) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)


def test_patches_get_the_same_answer(proxied: httpx.Client, behind: RunningServer, png: bytes) -> None:
    headers = {"Content-Type": "image/png"}
    direct = behind.client.post("/predict", content=png, headers=headers).json()
    for content in (png, iter([png[:100], png[100:]])):
        answer = proxied.post(f"{PREFIX}/predict", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["logits"] == direct["logits"]


def test_a_browser_signs_in_and_stays_below_the_prefix(proxied: httpx.Client, behind: RunningServer) -> None:
    with httpx.Client(base_url=proxied.base_url, trust_env=False, follow_redirects=True) as browser:
        browser.headers["Accept"] = "text/html"
        page = browser.post(f"{PREFIX}/login", data={"key": behind.key, "next": ""})
        assert (page.status_code, page.url.path) == (200, f"{PREFIX}/")
        for path in sorted(set(re.findall(r'(?:href|src)="(/[^"?#]*)', page.text))):
            assert browser.get(path).status_code == 200, path
        assert browser.get(PREFIX).url.path in {PREFIX, f"{PREFIX}/"}


def test_large_bodies_pass_where_they_may(proxied: httpx.Client) -> None:
    for size, path, status in (
        (20 * MEBIBYTE, "/admin/models", 422),
        (64 * MEBIBYTE, "/admin/models", 422),
        (20 * MEBIBYTE, "/predict", 413),
        (66 * MEBIBYTE, "/admin/models", 413),
    ):
        octets = {"Content-Type": "application/octet-stream"}
        response = proxied.post(f"{PREFIX}{path}", content=bytes(size), headers=octets)
        assert response.status_code == status, (size, path, response.text)


def test_the_page_uploads_as_much_as_the_interface(proxied: httpx.Client) -> None:
    octets = {"Content-Type": "application/octet-stream", "Authorization": "", "Accept": "application/json"}
    refused = proxied.post(f"{PREFIX}/models/upload", content=bytes(63 * MEBIBYTE), headers=octets)
    assert_problem(refused, 401, "unauthorized")  # by the server, not by the proxy


def test_the_client_has_its_own_address_whatever_it_claims(proxied: httpx.Client, behind: RunningServer) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "X-Forwarded-Prefix": "/evil"}
    response = proxied.post(f"{PREFIX}/login", data={"key": behind.key, "next": ""}, headers=claims)
    assert response.headers["location"] == f"{PREFIX}/"
    [entry] = behind.services.audit.page(1).entries
    assert (entry.action, entry.address) == ("session.open", "127.0.0.1")


def test_the_bounds_of_the_stacks_own_proxy_hold_for_the_page_too() -> None:
    text = (ROOT / "docker" / "Caddyfile").read_text(encoding="utf-8")
    for matcher in ("@artifact path", "@other not path"):
        assert f"{matcher} /admin/models /models/upload\n" in text
    assert re.findall(r"max_size (\S+)", text) == ["65MiB", "17MiB"]
