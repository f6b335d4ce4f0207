"""A wheel holds the compiled loops where there is a C compiler, and is built without one, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = (*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "alembic", "scripts")


def built(tmp_path: Path, compiler: str) -> tuple[str, list[str]]:
    """The name of a wheel that is built from a copy of the sources, and the names of the loops' files in it."""
    source = tmp_path / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(
        command, cwd=source, env=os.environ | {"CC": compiler}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "model_zoo/kernels.py" in names
    assert "app/records/alembic/env.py" in names
    return wheel.name, [
        name
        for name in names
        if name.startswith(("model_zoo/_kernels.", "slides/_kernels.")) and name.endswith((".so", ".pyd"))
    ]


def test_a_compiler_gives_a_wheel_of_this_platform(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    name, loops = built(tmp_path, compiler)
    assert [Path(loop).parent.name for loop in sorted(loops)] == ["model_zoo", "slides"]
    assert not name.endswith("-none-any.whl")


def test_without_a_compiler_the_wheel_is_pure_python(tmp_path: Path) -> None:
    name, loops = built(tmp_path, "no-such-compiler")
    assert loops == []
    assert name.endswith("-py3-none-any.whl")
