"""What installs the tests' packages looks where pip was told to look."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("uv")
INFO = "rosette_probe-1.0.dist-info"
FILES = {
    "rosette_probe.py": "",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: rosette-probe\nVersion: 1.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/RECORD": f"rosette_probe.py,,\n{INFO}/METADATA,,\n{INFO}/WHEEL,,\n{INFO}/RECORD,,\n",
}


def install(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (home / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {home}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "install.py", "--no-deps", "--target", str(home / "into"), *arguments],
        env=kept | {"PIP_CONFIG_FILE": str(home / "pip.conf"), "UV_CACHE_DIR": str(home / "cache")},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a wheel that no index has."""
    with zipfile.ZipFile(tmp_path / "rosette_probe-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in FILES.items():
            wheel.writestr(name, content)
    return tmp_path


def test_it_installs_from_where_pip_looks(home: Path) -> None:
    done = install(home, "rosette-probe")
    assert done.returncode == 0, done.stderr
    assert (home / "into" / "rosette_probe.py").exists()
    assert "pip tries it" not in done.stdout


def test_pip_tries_what_uv_cannot_install_and_its_status_counts(home: Path) -> None:
    done = install(home, "rosette-probe==2.0")
    assert done.returncode != 0
    assert "uv could not install this: pip tries it" in done.stdout
    assert "No matching distribution found for rosette-probe==2.0" in done.stderr
