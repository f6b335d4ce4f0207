"""The arrows: training → model_zoo ← slides ← app, and no torch in the server."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FORBIDDEN = {
    "client": {"app", "model_zoo", "slides", "training", "torch", "onnxruntime"},
    "app": {"training", "torch", "e2cnn", "lightning"},
    "model_zoo": {"app", "slides", "training", "torch", "e2cnn", "lightning"},
    "slides": {"app", "training", "torch", "e2cnn", "lightning"},
    "training": {"app", "slides"},
}


def imported(source: str) -> set[str]:
    """Top-level names of every package that a module imports, anywhere in it, statically or by a literal name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names.add(module)
    return {name.partition(".")[0] for name in names}


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "import torch.nn as nn",
        "def f():\n    from torch import Tensor",
        "if True:\n    import os, torch",
        "importlib.import_module('torch.nn')",
        "__import__('torch')",
    ],
)
def test_no_way_of_importing_is_overlooked(source: str) -> None:
    assert "torch" in imported(source)


def test_relative_imports_and_strings_are_no_imports() -> None:
    assert imported("from . import torch\nname = 'torch'") == set()


def test_every_package_is_looked_at() -> None:
    assert {path.parts[0] for path in modules()} == set(FORBIDDEN)


@pytest.mark.parametrize("module", modules(), ids=str)
def test_module_keeps_the_arrows(module: Path) -> None:
    crossed = imported((ROOT / module).read_text(encoding="utf-8")) & FORBIDDEN[module.parts[0]]
    assert not crossed, f"{module} imports {sorted(crossed)}, which {module.parts[0]}/ must not know"


def test_the_server_starts_without_torch_onnx_or_training() -> None:
    program = "import json, sys, app.main; app.main.create_app; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"app", "model_zoo", "fastapi"} <= loaded
    heavy = {"torch", "e2cnn", "lightning", "onnx", "openslide", "highdicom", "pydicom", "training", "scipy", "pyarrow"}
    assert not loaded & heavy
    assert not loaded & {"authlib", "httpx2", "joserfc"}, "only where people sign in at a provider"


# What may import which part of the server; a part may always import itself and what stands beside the parts.
INNER = {
    "access": {"records"},
    "api": {"access", "diagnosis", "inference", "records", "registry", "slides"},
    "commands": {"access", "api", "diagnosis", "records", "registry", "web", "webhooks"},
    "diagnosis": set[str](),
    "inference": {"diagnosis"},
    "oidc": {"access", "webhooks"},  # the check of an address
    "records": {"diagnosis"},
    "registry": {"diagnosis", "inference", "records"},
    "slides": {"access", "inference", "records", "registry"},
    "webhooks": {"records"},
    "web": {"access", "api", "diagnosis", "oidc", "records", "registry", "slides"},
}


def parts_imported(source: str) -> set[str]:
    """Parts of the server that a module imports by name."""
    names = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[1] for name in names if name.startswith("app.")} & set(INNER)


@pytest.mark.parametrize("part", INNER)
def test_the_servers_parts_know_only_those_below(part: str) -> None:
    for module in sorted((ROOT / "app" / part).rglob("*.py")):
        crossed = parts_imported(module.read_text(encoding="utf-8")) - INNER[part] - {part}
        assert not crossed, f"{module.relative_to(ROOT)} imports {sorted(crossed)}"


def test_settings_and_signatures_know_no_part() -> None:
    settings, signatures = (
        (ROOT / "app" / f"{name}.py").read_text(encoding="utf-8") for name in ("settings", "signatures")
    )
    assert parts_imported(settings) == {"oidc", "webhooks"}  # their own settings
    assert not parts_imported(signatures)


def test_pages_ask_nobody_over_http() -> None:
    found = set.union(*(imported(path.read_text(encoding="utf-8")) for path in (ROOT / "app" / "web").glob("*.py")))
    assert not found & {"http", "httpx", "httpx2", "requests", "socket", "urllib3", "aiohttp"}
