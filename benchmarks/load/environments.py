"""What the other servers run in: virtual environments with Rosette's versions of onnxruntime, numpy and pillow, and the
source of an earlier Rosette."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SAME = ("numpy", "onnxruntime", "pillow")
PACKAGES = {
    "litserve": ["litserve==0.2.19", "python-multipart"],
    "bentoml": ["bentoml==1.4.40"],
    "mlserver": ["mlserver==1.7.1", "uvloop<0.22"],  # its workers need an event loop policy that uvloop 0.22 removed
}
_VERSIONS = """
import importlib.metadata as metadata, json, sys
print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))
"""


def cache() -> Path:
    """``$XDG_CACHE_HOME/rosette-benchmarks``, by default in ``~/.cache``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "rosette-benchmarks"


def source_of(commit: str) -> Path:
    """The source tree of a commit of this repository, written if missing.

    Raises:
        subprocess.CalledProcessError: if git does not have the commit.
    """
    folder = cache() / f"source-{commit}"
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        done.touch()
    return folder


def environment(name: str) -> Path:
    """The ``bin`` folder of a server's environment, created if missing.

    Raises:
        subprocess.CalledProcessError: if pip cannot install it.
    """
    wanted = PACKAGES[name] + [f"{package}=={version(package)}" for package in SAME]
    key = sha256(json.dumps([sys.version, wanted]).encode()).hexdigest()[:12]
    folder = cache() / f"{name}-{key}"
    done = folder / "complete"
    if not done.exists():
        print(f"installing {' '.join(wanted)} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)
        done.touch()
    return folder / "bin"


def versions(name: str) -> dict[str, str]:
    """The versions of a server, its HTTP server, and its numeric packages."""
    command = [str(environment(name) / "python"), "-c", _VERSIONS, name, "uvicorn", *SAME]
    told: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told
