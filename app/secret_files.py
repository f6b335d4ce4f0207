"""Secrets that stand in files: read once, and never more than a secret's size."""

from __future__ import annotations

import stat
from pathlib import Path

MAX_BYTES = 64 * 1024

# A pipe gives its content once, and settings are asked more than once.
_piped: dict[tuple[int, int], bytes] = {}


def read_secret(setting: str, file: Path) -> bytes:
    """The content of a file or pipe, without white space around it.

    Args:
        setting: the name of the variable that names the file, for messages.

    Raises:
        ValueError: if it cannot be read, is neither a file nor a pipe, or has more than 64 KiB.
    """
    try:
        found = file.stat()
        pipe = stat.S_ISFIFO(found.st_mode)
        if not pipe and not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{setting} {file} is {_kind(found.st_mode)}: name a file (or a pipe) with the secret")
        known = (found.st_dev, found.st_ino)
        if pipe and known in _piped:
            return _piped[known]
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{setting} {file} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{setting} {file} has more than {MAX_BYTES} bytes, which is no secret: name another file")
    if pipe:
        _piped[known] = data.strip()
    return data.strip()


def read_secret_text(setting: str, file: Path) -> str:
    """The same as text.

    Raises:
        ValueError: also if it is not UTF-8.
    """
    try:
        return read_secret(setting, file).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{setting} {file} cannot be read: {error}") from error


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "no file")
