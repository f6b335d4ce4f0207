"""What a run is of: the slide's bytes, the model and how it is read; a run goes on only where all of it is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slides.errors import SlideError

ALGORITHM = "1"  # raise it when the same slide and model give other cells
_PIECE = 2**22


@dataclass(frozen=True)
class Identity:
    """Everything that the cells of a run depend on, as plain JSON values."""

    slide: str
    model: str
    scale: float
    rotations: str
    shifts: str
    versions: dict[str, str]

    @property
    def sha256(self) -> str:
        return sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()

    def differs(self, other: dict[str, Any]) -> list[str]:
        """What is not as in another identity's values."""
        names = {"slide": "file", "rotations": "choice of rotations", "shifts": "choice of shifts"}
        return [names.get(name, name) for name, value in vars(self).items() if other.get(name) != value]


def versions() -> dict[str, str]:
    """Of what reads and answers."""
    import openslide

    return {
        "slides": ALGORITHM,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "openslide": openslide.__library_version__,
    }


def hash_of(path: Path, vendor: str, heard: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a slide: of its file, or of all files that it consists of with their names.

    Args:
        path: the file that is opened.
        vendor: OpenSlide's name of its format.
        heard: told how many bytes were read.

    Raises:
        SlideError: if a file cannot be read.
    """
    files = list(_files(path, vendor))
    whole = sha256()
    try:
        for file in files:
            part = whole if len(files) == 1 else sha256()
            with file.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    part.update(piece)
                    if heard:
                        heard(len(piece))
            if part is not whole:
                whole.update(f"{file.relative_to(path.parent)}\0".encode(errors="surrogateescape") + part.digest())
    except OSError as error:
        raise SlideError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    return whole.hexdigest()


def stamps_of(path: Path, vendor: str) -> list[tuple[Path, int, int]]:
    """Size and time of change, in ns, of a slide's file or of all files that it consists of; empty if one is gone."""
    try:
        found = [(file, file.stat()) for file in _files(path, vendor)]
    except OSError:
        return []
    return [(file, stat.st_size, stat.st_mtime_ns) for file, stat in found]


def _files(path: Path, vendor: str) -> Iterator[Path]:
    yield path
    beside = {"mirax": path.with_suffix(""), "dicom": path.parent, "hamamatsu": path.parent}.get(vendor)
    if beside is None or not beside.is_dir() or (vendor == "hamamatsu" and path.suffix.lower() == ".ndpi"):
        return
    for file in sorted(beside.rglob("*") if vendor == "mirax" else beside.iterdir()):
        if file.is_file() and file != path:
            yield file
