"""Group commit: the one thread that writes predictions, and what happens while the database is away."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from app.problems import IdempotencyMismatch, Problem, RecordsUnavailable
from app.records import journal
from app.records.database import transaction, unavailable
from app.records.entry import Entry, Recorded, insert_missing, insert_new
from app.records.idempotency import Repeatable
from app.records.journal import JournalFile
from app.records.predictions import check_writable

TOGETHER = 256
PATIENCE_S = 2.0
PROBE_S = 1.0
ADOPT_S = 5.0

log = logging.getLogger("rosette.records")

Outcome = Recorded | Exception


class _Outcomes:
    """Those of entries that were submitted together; delivered when the last is known, from whatever thread."""

    def __init__(self, number: int, deliver: Callable[[list[Outcome]], None]) -> None:
        self._outcomes: list[Outcome | None] = [None] * number
        self._left = number
        self._deliver = deliver
        self._lock = threading.Lock()

    def put(self, index: int, outcome: Outcome) -> None:
        with self._lock:
            if self._outcomes[index] is not None:
                return
            self._outcomes[index] = outcome
            self._left -= 1
            complete = self._left == 0
        if complete:
            self._deliver([outcome for outcome in self._outcomes if outcome is not None])

    def known(self, index: int) -> bool:
        return self._outcomes[index] is not None


class _Pending:
    """An entry whose request waits. Settled once, by whoever is first: the commit, or the journal."""

    __slots__ = ("_index", "_outcomes", "entry")

    def __init__(self, entry: Entry, outcomes: _Outcomes, index: int) -> None:
        self.entry = entry
        self._outcomes = outcomes
        self._index = index

    @property
    def settled(self) -> bool:
        return self._outcomes.known(self._index)

    def settle(self, outcome: Outcome) -> None:
        self._outcomes.put(self._index, outcome)


class Writer:
    """Commits what waits, many rows at once; keeps a journal while the database refuses, and drains it afterwards.

    A thread commits. Another one, the keeper, looks after the journal: when a commit takes longer than the patience, it
    journals what waits; when the database is back, it moves there what was journalled, also by processes that have
    ended.

    Args:
        engine: the database.
        folder: of the journals, on a disk that outlives the process; one for all processes of a machine.
        max_bytes: how far a journal may grow; 0 for none.
    """

    def __init__(self, engine: Engine, folder: Path, max_bytes: int) -> None:
        self._engine = engine
        self._folder = folder
        self._max_bytes = max_bytes
        self._queue: SimpleQueue[list[_Pending] | None] = SimpleQueue()
        self._committing: tuple[float, list[_Pending]] | None = None
        self._connection: Connection | None = None
        self._away = ""
        self._own: JournalFile | None = None
        self._drained = 0
        self._journalled: set[str] = set()
        self._journalled_requests: dict[tuple[str, str], tuple[str, int]] = {}
        self._journal_lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Make the folder, and begin.

        Raises:
            OSError: if the folder cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer.start()
        self._keeper.start()

    def stop(self) -> None:
        """Write what waits, then end; what is still journalled stays for the next start."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join(2 * PATIENCE_S)  # by then the keeper has journalled what waits
        self._stopping = True
        self._wake.set()
        if self._keeper.is_alive():
            self._keeper.join()
        if self._own is not None:
            if not self._away:
                with suppress(RecordsUnavailable):
                    self._drain_own()
            self._own.close()

    def submit(self, entries: Sequence[Entry], deliver: Callable[[list[Outcome]], None]) -> None:
        """Have entries written; ``deliver`` gets their outcomes in some thread, once all are on the disk."""
        outcomes = _Outcomes(len(entries), deliver)
        self._queue.put([_Pending(entry, outcomes, index) for index, entry in enumerate(entries)])

    @property
    def waiting(self) -> int:
        """Groups of entries that wait for their commit."""
        return self._queue.qsize()

    @property
    def journalled(self) -> int:
        """Entries that this process has journalled and the database does not have yet."""
        return len(self._journalled)

    @property
    def trouble(self) -> str:
        """Why answers go to the journal; empty if they do not."""
        return self._away

    def holds(self, prediction_id: str) -> bool:
        """Whether a prediction is journalled on this machine."""
        return prediction_id in self._journalled or journal.holds(self._folder, prediction_id)

    def first_answer(self, request: Repeatable) -> Recorded | None:
        """What such a request was answered while the database was away; None if it was not.

        Raises:
            IdempotencyMismatch: if that was another request.
        """
        with self._journal_lock:
            found = self._journalled_requests.get((request.key_id, request.idempotency_key))
            if found is None or self._own is None:
                return None
            fingerprint, position = found
            entry, _ = next(self._own.read(position))
        if fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        return Recorded(entry.text, replayed=True)

    def check_journal(self) -> None:
        """Write to the journal's folder.

        Raises:
            RecordsUnavailable: if that fails, or there is to be no journal.
        """
        try:
            if (self._own is not None and self._own.size >= self._max_bytes) or self._max_bytes == 0:
                raise OSError(errno.ENOSPC, "the journal is full")
            journal.check_writable(self._folder)
        except OSError as error:
            raise _neither(error) from error

    # The writer

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._waiting_with(first)
            if self._away:
                self._journal(group)
            else:
                self._commit(group)
            if last:
                break
        self._close_connection()

    def _waiting_with(self, first: list[_Pending]) -> tuple[list[_Pending], bool]:
        group = first
        while len(group) < TOGETHER:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                return group, True
            group += item
        return group, False

    def _commit(self, group: list[_Pending]) -> None:
        self._committing = (monotonic(), group)
        try:
            with self._transaction() as connection:
                results = insert_new(connection, [pending.entry for pending in group])
        except RecordsUnavailable as problem:
            self._committing = None
            if isinstance(problem.__cause__, DataError | IntegrityError):
                self._commit_singly(group, problem)
            else:
                self._went_away(problem.detail)
                self._journal(group)
            return
        except Exception as error:
            log.exception("predictions could not be recorded")
            self._committing = None
            for pending in group:
                pending.settle(error)
            return
        self._committing = None
        for pending, result in zip(group, results, strict=True):
            pending.settle(result)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction on a connection that is kept: to fetch one from the pool costs as much as several rows."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                yield self._connection
        except SQLAlchemyError as error:
            self._close_connection()
            raise unavailable(error) from error

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def _commit_singly(self, group: list[_Pending], problem: RecordsUnavailable) -> None:
        """One row that the database will not take must not keep the others out."""
        if len(group) == 1:
            log.error("a prediction was refused by the database: %s", problem.__cause__)
            group[0].settle(Problem("The database refused the answer; why is in the server's log."))
            return
        for pending in group:
            self._commit([pending])

    # The journal

    def _went_away(self, why: str) -> None:
        if not self._away:
            log.warning("answers go to the journal %s: %s", self._folder, why)
        self._away = why
        self._wake.set()

    def _journal(self, group: list[_Pending]) -> None:
        waiting = [pending for pending in group if not pending.settled]
        if not waiting:
            return
        entries = [pending.entry for pending in waiting]
        with self._journal_lock:
            try:
                if self._own is None:
                    self._own = JournalFile.create(self._folder)
                begins = self._own.append(entries, self._max_bytes)
            except OSError as error:
                problem = _neither(error)
                for pending in waiting:
                    pending.settle(problem)
                return
            self._journalled.update(entry.id for entry in entries)
            for entry, begin in zip(entries, begins, strict=True):
                if (given := entry.request) is not None:
                    key = (given.key_id, given.idempotency_key)
                    self._journalled_requests.setdefault(key, (given.fingerprint, begin))
        for pending in waiting:
            pending.settle(Recorded(pending.entry.text))

    # The keeper

    def _keep(self) -> None:
        looked = probed = -ADOPT_S
        while not self._stopping:
            self._wake.wait(PROBE_S / 4 if self._away or self._committing else PROBE_S)
            self._wake.clear()
            try:
                self._rescue()
                now = monotonic()
                if self._away and now - probed >= PROBE_S:
                    probed = now
                    self._probe()
                if not self._away and self._overdue() is None:
                    self._drain_own()
                    if now - looked >= ADOPT_S:
                        looked = now
                        self._adopt()
            except RecordsUnavailable as problem:
                self._went_away(problem.detail)
            except Exception:
                log.exception("the journal %s cannot be looked after", self._folder)

    def _overdue(self) -> list[_Pending] | None:
        """What waits for a commit that takes too long; None if no commit does."""
        committing = self._committing
        if committing is None or monotonic() - committing[0] <= PATIENCE_S:
            return None
        return committing[1]

    def _rescue(self) -> None:
        """Journal what waits for a commit that takes too long, and everything behind it."""
        overdue = self._overdue()
        if overdue is None:
            return
        self._went_away(f"The database has not committed within {PATIENCE_S:g} s.")
        self._journal(overdue)
        behind: list[_Pending] = []
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:  # the writer is to stop when its commit returns
                self._queue.put(None)
                break
            behind += item
        if behind:
            self._journal(behind)

    def _probe(self) -> None:
        if self._committing is not None:
            return
        check_writable(self._engine)
        self._away = ""
        log.info("answers go to the database again")

    def _drain_own(self) -> None:
        own = self._own
        if own is None or own.size == 0:
            return
        self._drained = self._drain(own, self._drained)
        with self._journal_lock:
            if own.clear(self._drained):
                self._drained = 0
                self._journalled.clear()
                self._journalled_requests.clear()

    def _adopt(self) -> None:
        for path in sorted(self._folder.glob(f"*{journal.SUFFIX}")):
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
        some: list[Entry] = []
        moved, end = 0, file.size
        for entry, _ in file.read(begin):
            some.append(entry)
            if len(some) == TOGETHER:
                self._insert(some)
                moved += len(some)
                some = []
        if some:
            self._insert(some)
        if moved + len(some):
            log.info("%s journalled predictions are in the database", moved + len(some))
        return end

    def _insert(self, entries: list[Entry]) -> None:
        try:
            with transaction(self._engine) as connection:
                insert_missing(connection, entries)
        except RecordsUnavailable as problem:
            if not isinstance(problem.__cause__, DataError | IntegrityError):
                raise
            if len(entries) == 1:
                log.error("a journalled prediction is refused for good by the database: %s", problem.__cause__)
                journal.set_refused_aside(self._folder, entries[0])
                return
            for entry in entries:
                self._insert([entry])


def _neither(error: OSError) -> RecordsUnavailable:
    return RecordsUnavailable(
        f"Neither the database nor the journal takes the answer ({error.strerror or error}), so nothing was answered."
    )
