"""What openapi-typescript makes of the server's description compiles, and works through openapi-fetch."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import RunningServer
from tests.conftest import ROOT


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_predicts_lists_and_reads_problems(server: RunningServer, png: bytes, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (on Debian and Ubuntu: apt-get install npm)")
    project = tmp_path / "typescript"
    shutil.copytree(
        ROOT / "tests" / "app" / "typescript", project, ignore=shutil.ignore_patterns("node_modules", "built")
    )
    (project / "openapi.json").write_bytes(httpx.get(f"{server.url}/openapi.json", timeout=120).content)
    run(project, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
    programs = project / "node_modules" / ".bin"
    run(project, str(programs / "openapi-typescript"), "openapi.json", "--output", "rosette.ts")
    run(project, str(programs / "tsc"))
    said = run(project, "node", "built/program.js", server.url, server.key, b64encode(png).decode())
    told = json.loads(said.splitlines()[-1])
    read = server.client.get(f"/predictions/{told['id']}").json()
    assert (told["probability"], told["decision"]) == (read["probability"], read["decision"])
    assert (told["listed"], told["read"]) == ([told["id"]], True)
    refused, stranger = told["problems"]
    assert refused.startswith("422 /problems/not-an-image ")
    assert stranger.startswith("401 /problems/unauthorized ")
