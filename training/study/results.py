"""Results as JSON files with their provenance: command, commit, data, machine."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

PACKAGES = ("torch", "e2cnn", "onnxruntime", "numpy")
Document = dict[str, JsonValue]


def provenance(data: Mapping[str, str]) -> Document:
    """The provenance of a result.

    Args:
        data: SHA-256 of every split that was read, by name.
    """
    return {
        "command": shlex.join(["rosette", *(_without_home(word) for word in sys.argv[1:])]),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "data_sha256": dict(data),
        "machine": f"{_cpu()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in PACKAGES},
    }


def save(folder: Path, name: str, document: Mapping[str, JsonValue]) -> Path:
    """Write ``folder/name.json``; equal documents give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read(folder: Path, name: str) -> Document | None:
    """A saved document, or None if it does not exist."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    document: Document = json.loads(file.read_text(encoding="utf-8"))
    return document


def published_split(document: Any) -> str:
    """The split whose figures are shown: test if it was read, else valid."""
    return "test" if "test" in document["n"] else "valid"


def commit() -> str:
    """The checkout's commit, with ``+`` if the tree differs from it; ``unknown`` outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=+",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _without_home(word: str) -> str:
    """The command with folders outside of the working directory replaced by DIR."""
    return "DIR" if Path(word).is_absolute() or word.startswith("..") else word


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
