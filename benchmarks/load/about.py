"""The environment of a benchmark run."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.load.contenders import PEERS, ROOT
from benchmarks.load.environments import versions

OURS = ("onnxruntime", "numpy", "pillow", "fastapi", "starlette", "uvicorn", "h11", "httptools", "uvloop", "sqlalchemy")


def about(cores: int, folder: Path) -> dict[str, Any]:
    """Machine, versions, commit and command."""
    information = Path("/proc/cpuinfo").read_text()
    memory = Path("/proc/meminfo").read_text().split()[1]
    model = next((line.split(": ")[1] for line in information.splitlines() if line.startswith("model name")), "unknown")
    return {
        "command": shlex.join(["python", "-m", "benchmarks.load", *sys.argv[1:]]),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": model,
        "cores": cores,
        "vnni": any(flag in information for flag in ("avx512_vnni", "avx_vnni")),
        "memory_gb": round(int(memory) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "load_before": round(os.getloadavg()[0], 2),
        "wrk": _output("wrk", "-v").split(" [")[0],
        "versions": {"python": platform.python_version()} | {name: found for name in OURS if (found := _version(name))},
        "peers": {name: versions(name) for name in PEERS},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()


def _commit() -> str:
    return _output("git", "rev-parse", "--short=12", "HEAD") + ("+" if _output("git", "status", "--porcelain") else "")


def _file_system(folder: Path) -> str:
    return _output("df", "--output=fstype", str(folder)).split()[-1]
