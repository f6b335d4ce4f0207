"""Answers that have left and are not in the database yet: journalled here, until it takes them."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError

from app.problems import IdempotencyMismatch, RecordsUnavailable
from app.records import journal
from app.records.database import transaction
from app.records.entry import LogEntry, Recorded, insert_missing
from app.records.idempotency import Repeatable
from app.records.journal import JournalFile

DRAIN_GROUP = 256
PROBE_BYTES = 16 * 1024

log = logging.getLogger("rosette.records")


class Backlog:
    """The journal of this process, and those of processes that have ended; threads may use it at the same time.

    Args:
        engine: the database.
        folder: of the journals, on a disk that outlives the process; one for all processes of a machine.
        max_bytes: how far a journal may grow; 0 for none.
    """

    def __init__(self, engine: Engine, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._engine = engine
        self._max_bytes = max_bytes
        self._own: JournalFile | None = None
        self._drained = 0
        self._ids: set[str] = set()
        self._requests: dict[tuple[str, str], tuple[str, int]] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Entries that this process has journalled and the database does not have yet."""
        return len(self._ids)

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OSError: if that fails.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Close this process's journal; what it holds stays for the next start."""
        if self._own is not None:
            self._own.close()

    def holds(self, prediction_id: str) -> bool:
        """Whether a prediction is journalled on this machine."""
        return prediction_id in self._ids or journal.holds(self.folder, prediction_id)

    def first_answer(self, request: Repeatable) -> Recorded | None:
        """What such a request was answered while the database was away; None if it was not.

        Raises:
            IdempotencyMismatch: if that was another request.
        """
        with self._lock:
            found = self._requests.get((request.key_id, request.idempotency_key))
            if found is None or self._own is None:
                return None
            fingerprint, position = found
            entry, _ = next(self._own.read(position))
        if fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        return Recorded(entry.text, replayed=True)

    def check(self, size: int = PROBE_BYTES) -> None:
        """Write so many bytes to the folder.

        Raises:
            RecordsUnavailable: if that fails, or there is to be no journal.
        """
        try:
            if (self._own.size if self._own else 0) + size > self._max_bytes:
                raise OSError(errno.ENOSPC, "the journal is full")
            journal.check_writable(self.folder, size)
        except OSError as error:
            raise _neither(error) from error

    def add(self, entries: Sequence[LogEntry]) -> None:
        """Journal entries; they are on the disk when this returns.

        Raises:
            RecordsUnavailable: if that fails.
        """
        with self._lock:
            try:
                if self._own is None:
                    self._own = JournalFile.create(self.folder)
                begins = self._own.append(entries, self._max_bytes)
            except OSError as error:
                raise _neither(error) from error
            self._ids.update(entry.id for entry in entries)
            for entry, begin in zip(entries, begins, strict=True):
                if (given := entry.request) is not None:
                    key = (given.key_id, given.idempotency_key)
                    self._requests.setdefault(key, (given.fingerprint, begin))

    def drain(self) -> None:
        """Move what this process has journalled into the database.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        own = self._own
        if own is None or own.size == 0:
            return
        self._drained = self._drain(own, self._drained)
        with self._lock:
            if own.clear(self._drained):
                self._drained = 0
                self._ids.clear()
                self._requests.clear()

    def adopt(self) -> None:
        """The same with what processes have journalled that have ended.

        Raises:
            RecordsUnavailable: if the database fails.
        """
        for path in sorted(self.folder.glob(f"*{journal.SUFFIX}")):
            if self._own is not None and path == self._own.path:
                continue
            if (adopted := JournalFile.adopt(path)) is None:
                continue
            try:
                self._drain(adopted)
                if adopted.damaged:
                    adopted.set_aside()
                else:
                    adopted.clear(adopted.size)
            finally:
                adopted.close()

    def _drain(self, file: JournalFile, begin: int = 0) -> int:
        """Move a journal's entries into the database; gives the position behind the last."""
        some: list[LogEntry] = []
        moved, end = 0, file.size
        for entry, _ in file.read(begin):
            some.append(entry)
            if len(some) == DRAIN_GROUP:
                self._insert(some)
                moved += len(some)
                some = []
        if some:
            self._insert(some)
        if moved + len(some):
            log.info("%s journalled predictions are in the database", moved + len(some))
        return end

    def _insert(self, entries: list[LogEntry]) -> None:
        try:
            with transaction(self._engine) as connection:
                insert_missing(connection, entries)
        except RecordsUnavailable as problem:
            if not isinstance(problem.__cause__, DataError | IntegrityError):
                raise
            if len(entries) == 1:
                log.error("a journalled prediction is refused for good by the database: %s", problem.__cause__)
                journal.set_refused_aside(self.folder, entries[0])
                return
            for entry in entries:
                self._insert([entry])


def _neither(error: OSError) -> RecordsUnavailable:
    return RecordsUnavailable(
        f"Neither the database nor the journal takes the answer ({error.strerror or error}), so nothing was answered."
    )
