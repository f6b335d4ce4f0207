"""A Rosette server whose people sign in at a real identity provider."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.oidc.settings import OidcClient
from app.settings import Settings
from tests.app.conftest import RunningServer, _no_settings_from_outside, clock, database, png, postgres, sqlite, tumour
from tests.oidc.real import RealProvider, real_provider, walk
from tests.web.conftest import browser

__all__ = ["_no_settings_from_outside", "browser", "clock", "database", "png", "postgres", "sqlite", "tumour"]

SECRET = "a secret: with 100 % of +odd/characters"
ROLES = "pathologists=pathologist,rosette-admins=admin,readers=read"
ACCOUNTS: dict[str, dict[str, Any]] = {
    "ada": {"name": "Ada Grünwald", "roles": ["staff", "pathologists"]},
    "eve": {"name": "Eve", "roles": ["pathologists"]},
    "dan": {"name": "Dan", "roles": ["readers", "pathologists"]},
    "root": {"name": "Root", "roles": "rosette-admins"},
    "guest": {"name": "Guest", "roles": ["staff"]},
}


@dataclass
class Site:
    """Rosette and its provider.

    Attributes:
        silent: what was answered to a person who began to sign in before the provider answered anything.
        meanwhile: what the holder of a key was answered while that took its time.
    """

    rosette: RunningServer
    provider: RealProvider
    silent: httpx.Response
    meanwhile: list[httpx.Response]
    accounts: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(ACCOUNTS))

    @property
    def callback(self) -> str:
        return f"{self.rosette.url}/login/oidc/callback"

    def browser(self) -> httpx.Client:
        """A browser without any cookie."""
        return httpx.Client(headers={"Accept": "text/html"}, timeout=60, trust_env=False)

    def walked(self, browser: httpx.Client, account: str, target: str = "") -> str:
        """The address that the provider sends the browser back to."""
        query = f"?{httpx.QueryParams({'next': target})}" if target else ""
        return walk(browser, f"{self.rosette.url}/login/oidc{query}", account, self.callback)

    def sign_in(self, browser: httpx.Client, account: str, target: str = "") -> httpx.Response:
        """What Rosette answers to a browser that has signed in at the provider."""
        return browser.get(self.walked(browser, account, target))

    def change(self, account: str, **claims: Any) -> None:
        """Have other claims for an account from now on."""
        self.accounts[account] = self.accounts[account] | claims
        self.provider.change(**self.accounts)

    def told(self, number: int) -> list[dict[str, Any]]:
        """The last rows of the audit trail, newest first."""
        rows = self.rosette.client.get("/admin/audit", params={"limit": number}).json()["entries"]
        return [row | {"after": json.loads(row["after"] or "null")} for row in rows]

    def person(self, subject: str) -> dict[str, Any]:
        """What is listed of a person."""
        listed = self.rosette.client.get("/admin/keys").json()["keys"]
        [found] = [key for key in listed if key["subject"] == subject]
        return dict(found)


def onward(response: httpx.Response) -> str:
    """Where a page goes on to."""
    assert response.status_code == 200, response.text
    [target] = re.findall(r'http-equiv="refresh" content="0; url=([^"]*)"', response.text)
    return str(target).replace("&amp;", "&")


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "client"
    file.write_text(SECRET + "\n")
    return file


def settings_of(issuer: str, secret_file: Path) -> dict[str, Any]:
    return {
        "oidc_issuer": issuer,
        "oidc_client_id": "rosette",
        "oidc_client_secret_file": secret_file,
        "oidc_roles": ROLES,
    }


def client_of(issuer: str, secret_file: Path, **changes: Any) -> OidcClient:
    """What the server is to a provider by its settings."""
    found = Settings(**settings_of(issuer, secret_file) | changes).oidc_client()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, artifact_path: Path, secret_file: Path, png: bytes
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    with (
        real_provider() as provider,
        RunningServer(home, artifact_path, **settings_of(provider.issuer, secret_file)) as rosette,
    ):
        yield made(rosette, provider, png)


def made(rosette: RunningServer, provider: RealProvider, png: bytes) -> Site:
    """Serve, after a try while the provider listens and says nothing."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(httpx.get, f"{rosette.url}/login/oidc", headers={"Accept": "text/html"}, timeout=60)
        predicted = rosette.client.post("/predict", content=png, headers={"Content-Type": "image/png"})
        entered = httpx.post(f"{rosette.url}/login", data={"key": rosette.key})
        meanwhile = [] if asked.done() else [predicted, entered]
        silent = asked.result()
    client = {
        "client_id": "rosette",
        "client_secret": SECRET,
        "redirect_uris": [f"{rosette.url}/login/oidc/callback"],
        "post_logout_redirect_uris": [f"{rosette.url}/login/oidc/out"],
    }
    weak = client | {"client_id": "weak", "id_token_signed_response_alg": "HS256"}
    provider.serve([client, weak], **ACCOUNTS)
    sleep(int(silent.headers["Retry-After"]))  # until the server asks the provider again
    return Site(rosette, provider, silent, meanwhile)
