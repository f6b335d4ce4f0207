"""npm's `oidc-provider` as a process, and a browser-like walk through its pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

HERE = Path(__file__).parent
OLDEST_NODE = 20


def installed() -> Path:
    """The folder with the provider's packages, which npm installs from the lock file; skips where there is no npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js with npm: install Debian's packages nodejs and npm, or Node.js 20 or newer")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(found.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {found.strip()} is too old for oidc-provider: install version {OLDEST_NODE} or newer")
    done, lock = HERE / "node_modules" / ".installed", (HERE / "package-lock.json").read_text()
    with (HERE / "package-lock.json").open() as locked:
        flock(locked, LOCK_EX)  # tests in other processes install it, too
        if not done.exists() or done.read_text() != lock:
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
            assert run.returncode == 0, f"npm could not install the provider of the tests:\n{run.stderr}"
            done.write_text(lock)
    return HERE


class RealProvider:
    """The provider's process.

    Attributes:
        issuer: its address, on this machine, by another name than Rosette's.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.issuer: str = self._said("issuer")

    def serve(self, clients: list[dict[str, Any]], **accounts: dict[str, Any]) -> None:
        """Begin to answer."""
        self._tell(clients=clients, accounts=accounts)

    def change(self, **accounts: dict[str, Any]) -> None:
        """Have these accounts from now on."""
        self._tell(accounts=accounts)

    def _tell(self, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        assert self._said("ready")

    def _said(self, name: str) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and name in (told := json.loads(line)):
                return told[name]
        raise AssertionError("the provider ended")


@contextmanager
def real_provider() -> Iterator[RealProvider]:
    """The provider, which listens and answers nothing until it is told its clients."""
    command = ["node", str(installed() / "provider.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RealProvider(process)
        finally:
            process.kill()


def walk(client: httpx.Client, url: str, login: str, until: str) -> str:
    """Follow redirects and fill in the provider's forms; returns the first address that begins with ``until``.

    Args:
        client: with the browser's cookies at the provider.
        url: where the sign-in begins.
        login: the account.
        until: where the walk ends.
    """
    response = client.get(url)
    for _ in range(20):
        if response.is_redirect:
            url = urljoin(str(response.url), response.headers["location"])
            if url.startswith(until):
                return url
            response = client.get(url)
            continue
        assert response.status_code == 200, response.text
        action = re.findall(r'<form[^>]*action="([^"]+)"', response.text)[0]
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', response.text))
        if fields.get("prompt") == "login":
            fields |= {"login": login, "password": "any"}
        response = client.post(urljoin(str(response.url), action), data=fields)
    raise AssertionError("the provider's pages lead nowhere")
