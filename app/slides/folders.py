"""Which files of the configured folders are slides, and the opaque ids by which they are asked for."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".bif", ".svslide", ".dcm"})
MOST_SLIDES = 10_000
_MOST_FILES = 1_000_000
_OUT = "it is a link, or lies behind one, that leads out of the configured folder: put the file itself there"
_NAMED = "its name, or that of a folder above it, is not UTF-8: rename it"


@dataclass(frozen=True)
class SlideFile:
    """A slide's file.

    Attributes:
        id: 32 hexadecimal digits.
        root: the configured folder, without links.
        relative: the file's path below it.
        beside: path below the root of the folder whose files belong to the slide; None if it is one file.
        refused: why it is not opened at all; empty otherwise.
    """

    id: str
    root: Path
    relative: Path
    beside: Path | None
    refused: str = ""

    @property
    def path(self) -> Path:
        return self.root / self.relative

    @property
    def name(self) -> str:
        """The path below the folder, fit to be shown."""
        return os.fsencode(self.relative).decode("utf-8", "replace")

    def version(self) -> tuple[int, ...] | None:
        """Changes with the file; None if it is gone."""
        try:
            stats = [self.path.stat()]
            if self.beside is not None:
                stats.append((self.root / self.beside).stat())
        except OSError:
            return None
        return tuple(part for stat in stats for part in (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


def find_slides(roots: Sequence[Path], secret: bytes) -> list[SlideFile]:
    """The slides of the folders, by folder and path; 10,000 at most. Nothing is opened.

    Args:
        roots: the configured folders; one that is missing has no slides.
        secret: of this installation.
    """
    found: dict[str, SlideFile] = {}
    for root in (Path(os.path.realpath(root)) for root in roots):
        for path in _candidates(root):
            relative = path.relative_to(root)
            slide_id = _id_of(relative, 0, secret)
            again = 0
            while slide_id in found:  # the same path below another root
                again += 1
                slide_id = _id_of(relative, again, secret)
            beside = _beside(relative, root)
            inside = all(_inside(root / each, root) for each in (relative, beside) if each is not None)
            refused = _NAMED if not _is_text(path) else "" if inside else _OUT
            found[slide_id] = SlideFile(slide_id, root, relative, beside, refused)
            if len(found) >= MOST_SLIDES:
                return list(found.values())
    return list(found.values())


def _id_of(relative: Path, again: int, secret: bytes) -> str:
    text = os.fsencode(relative) + (b"\0%d" % again if again else b"")
    return hmac.digest(secret, text, "sha256").hex()[:32]


def _candidates(root: Path) -> Iterator[Path]:
    """Files with a slide's suffix; of a folder with DICOM files the largest, for all of them are one slide."""
    seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(files) + len(folders)
        if seen > _MOST_FILES:
            return
        here = Path(folder)
        named = sorted(name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
        dicom = [here / name for name in named if name.lower().endswith(".dcm")]
        yield from (here / name for name in named if not name.lower().endswith(".dcm"))
        if dicom:
            yield max(dicom, key=lambda path: (_size(path), path.name))


def _beside(relative: Path, root: Path) -> Path | None:
    match relative.suffix.lower():
        case ".mrxs":
            return relative.with_suffix("") if (root / relative.with_suffix("")).is_dir() else None
        case ".dcm" | ".vms" | ".vmu":
            return relative.parent
    return None


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
