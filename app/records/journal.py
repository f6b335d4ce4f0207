"""A local file that takes answers while the database is away: one a line, on the disk before they leave."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Self
from zlib import crc32

from uuid_utils.compat import uuid7

from app.records.entry import LogEntry

SUFFIX = ".journal"

log = logging.getLogger("rosette.records")


class JournalFile:
    """One file, locked for as long as this object is open; a line is a CRC-32 and an entry's JSON.

    All methods may be called from many threads.

    Attributes:
        damaged: lines that were read and are not what was written.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.damaged = 0
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new file, whose name is on the disk too.

        Raises:
            OSError: if the folder takes none.
        """
        path = folder / f"{uuid7().hex}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sync_folder(folder)
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """The file of a process that has ended; None if its process lives, or another one has adopted it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:  # else it was drained in the meantime
                return cls(path, descriptor)
        except OSError:
            pass
        os.close(descriptor)
        return None

    @property
    def size(self) -> int:
        """Bytes that are on the disk."""
        return self._size

    def append(self, entries: Sequence[LogEntry], max_size: int) -> list[int]:
        """Write entries; when this returns they are on the disk.

        Returns:
            Where each begins.

        Raises:
            OSError: if the disk does not take them, or the file would grow beyond ``max_size`` bytes; then none of them
                is in the file.
        """
        lines = [_line(entry) for entry in entries]
        with self._lock:
            begins = list(accumulate((len(line) for line in lines), initial=self._size))
            end = begins.pop()
            if end > max_size:
                raise OSError(errno.ENOSPC, f"the journal would grow beyond {max_size} bytes")
            try:
                _write(self._descriptor, b"".join(lines), self._size)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
            self._size = end
        return begins

    def read(self, begin: int = 0) -> Iterator[tuple[LogEntry, int]]:
        """The entries from a position on, each with the position behind it.

        A last line that is torn was never answered. Any other line that is damaged is told in the log, and counted.
        """
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(begin)
            end = self._size
            while file.tell() < end:
                line = file.readline()
                try:
                    yield _entry(line), file.tell()
                except (ValueError, TypeError, KeyError) as error:
                    if line.endswith(b"\n"):
                        self.damaged += 1
                        log.error("a line of the journal %s is damaged: %s", self.path, error)

    def clear(self, size: int) -> bool:
        """Empty the file, if it has not grown beyond ``size`` bytes; gives whether it did."""
        with self._lock:
            if self._size != size:
                return False
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)
            self._size = 0
            return True

    def set_aside(self) -> None:
        """Rename the file, so that nobody adopts it and a person can look at it."""
        aside = self.path.with_suffix(".damaged")
        self.path.rename(aside)
        log.error("the journal is kept as %s: %s of its lines are damaged", aside, self.damaged)

    def close(self) -> None:
        """Give up the lock; a file that is empty goes."""
        with self._lock:
            if self._size == 0:
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)


def holds(folder: Path, prediction_id: str) -> bool:
    """Whether any process's journal in the folder has this prediction."""
    sought = prediction_id.encode()
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            if sought in path.read_bytes():
                return True
        except FileNotFoundError:  # drained in the meantime
            continue
    return False


def check_writable(folder: Path, size: int = 4096) -> None:
    """Write a file of so many bytes and remove it.

    Raises:
        OSError: if the folder takes none.
    """
    path = folder / f"{uuid7().hex}.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, os.urandom(size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        path.unlink()


def set_refused_aside(folder: Path, entry: LogEntry) -> None:
    """Keep an entry that the database will never take, where a person can look at it."""
    with (folder / "refused.jsonl").open("a", encoding="utf-8") as file:
        file.write(entry.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _line(entry: LogEntry) -> bytes:
    content = entry.to_json().encode()
    return b"%08x %s\n" % (crc32(content), content)


def _entry(line: bytes) -> LogEntry:
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if int(checksum, 16) != crc32(content):
        raise ValueError("its checksum is wrong")
    return LogEntry.from_json(content.decode())


def _write(descriptor: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
