"""``make serve`` installs what the image installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT


def steps(tmp_path: Path) -> list[str]:
    """What ``make serve`` would run in a fresh checkout."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in (
        "Makefile",
        "pyproject.toml",
        "scripts/hatch_build.py",
        "model_zoo/kernels.h",
        "model_zoo/_kernels.c",
        "slides/_kernels.c",
        "docker/requirements.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = ["make", "--dry-run", f"PYTHON={sys.executable}", "serve"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()


def test_make_serve_installs_the_images_versions_with_their_hashes(tmp_path: Path) -> None:
    installs = [line for line in steps(tmp_path) if " pip install " in line]
    assert len(installs) == 2
    assert installs[0].endswith("--require-hashes --requirement docker/requirements.txt")
    assert installs[1].endswith("--no-deps --editable .")
    image = (ROOT / "docker" / "app.Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"--require-hashes[^\n]*\\\n\s*-r docker/requirements\.txt", image)


def test_a_new_lock_is_installed_by_the_next_make_serve() -> None:
    [rule] = re.findall(r"^\.venv/\.serve: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"pyproject.toml", "docker/requirements.txt", "$(KERNELS)"} <= set(rule.split())


def test_the_lock_is_not_older_than_what_is_tested() -> None:
    """Of the packages on whose behaviour the server builds most."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "docker" / "requirements.txt").read_text(), re.MULTILINE))
    for name in ("httptools", "onnxruntime", "sqlalchemy", "uuid-utils", "uvicorn"):
        assert locked[name].split(".")[0] == version(name).split(".")[0]
