"""Detects the real type of a file, and ignores hidden files."""

from __future__ import annotations

from pathlib import Path

KINDS = {
    b"\x1f\x8b": "is compressed by gzip: add .gz to its name and unpack it (gunzip)",
    b"PK\x03\x04": "is a ZIP archive: unpack it",
    b"version https://git-lfs": "is a Git LFS pointer without its content: run git lfs pull",
    b"\x89HDF\r\n\x1a\n": "is an HDF5 file that is truncated or damaged: download or copy it again",
    b"PAR1": "is a Parquet file that is truncated or damaged: download or copy it again",
}
AGAIN = "download or copy it again"
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}


def visible(folder: Path) -> list[Path]:
    """The entries of a folder, sorted, without hidden files (``._*``, ``.DS_Store``) and files of operating systems."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name.casefold() not in SYSTEM_FILES
    )


def fault(file: Path, expected: str) -> str:
    """The type of an unreadable file and what to do, to follow its name in a message.

    Args:
        file: the file.
        expected: the expected type, such as ``"HDF5"``.
    """
    with file.open("rb") as stream:
        return fault_of(stream.read(512), expected)


def fault_of(start: bytes, expected: str) -> str:
    """As :func:`fault`, by the first bytes of a file."""
    if not start:
        return f"is empty, expected {expected}: {AGAIN}"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return f"is a web page, expected {expected}: the download failed; fetch the file itself again"
    found = next((kind for magic, kind in KINDS.items() if start.startswith(magic)), None)
    return found or f"is not a valid {expected} file: {AGAIN}"
