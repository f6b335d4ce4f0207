"""Group commit: the one thread that writes predictions, and what happens while the database is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from app.problems import Problem, RecordsUnavailable
from app.records.backlog import Backlog
from app.records.database import unavailable
from app.records.entry import Entry, Recorded, insert_new
from app.records.predictions import PROBE_BYTES, check_writable

TOGETHER = 256
PATIENCE_S = 2.0
PROBE_S = 1.0
ADOPT_S = 5.0
MAX_PROBE_BYTES = 8 * 2**20

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
        backlog: the journal.

    Attributes:
        backlog: the same.
    """

    def __init__(self, engine: Engine, backlog: Backlog) -> None:
        self.backlog = backlog
        self._engine = engine
        self._queue: SimpleQueue[list[_Pending] | None] = SimpleQueue()
        self._committing: tuple[float, list[_Pending]] | None = None
        self._connection: Connection | None = None
        self._away = ""
        self._refusal = ""
        self._probe_bytes = PROBE_BYTES
        self._wake = threading.Event()
        self._stopping = False
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Make the folder, and begin.

        Raises:
            OSError: if the folder cannot be made.
        """
        self.backlog.prepare()
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
        if not self._away:
            with suppress(RecordsUnavailable):
                self.backlog.drain()
        self.backlog.close()

    def submit(self, entries: Sequence[Entry], deliver: Callable[[list[Outcome]], None]) -> None:
        """Have entries written; ``deliver`` gets their outcomes in some thread, once all are on the disk."""
        outcomes = _Outcomes(len(entries), deliver)
        self._queue.put([_Pending(entry, outcomes, index) for index, entry in enumerate(entries)])

    @property
    def waiting(self) -> int:
        """Groups of entries that wait for their commit."""
        return self._queue.qsize()

    @property
    def trouble(self) -> str:
        """Why answers go to the journal; empty if they do not."""
        return self._away

    @property
    def refusal(self) -> str:
        """Why no answer can be recorded, neither in the database nor in the journal; empty if it can."""
        return self._refusal

    def refuse_unrecordable(self) -> None:
        """Refuse a request whose answer could not be recorded.

        Raises:
            RecordsUnavailable: if neither the database nor the journal took the last one, and none since.
        """
        if self._refusal:
            raise RecordsUnavailable(self._refusal)

    def check(self) -> str:
        """Find out whether the database takes answers; gives why they go to the journal, empty if they do not."""
        if not self._away:
            if trouble := self._database_trouble():
                self._went_away(trouble)
            else:
                self._recovered()
        return self._away

    def check_journal(self) -> None:
        """Find out whether the journal takes answers; :attr:`refusal` tells from now on."""
        try:
            self.backlog.check(self._probe_bytes)
        except RecordsUnavailable as problem:
            self._refuse(problem.detail)
        else:
            self._recovered()

    def _database_trouble(self) -> str:
        try:
            check_writable(self._engine, self._probe_bytes)
        except RecordsUnavailable as problem:
            return problem.detail
        return ""

    def _refuse(self, why: str) -> None:
        if not self._refusal:
            log.error("no patch is answered: %s", why)
        self._refusal = why
        self._wake.set()

    def _recovered(self) -> None:
        if self._refusal:
            log.info("patches are answered again")
        self._refusal = ""

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
            log.warning("answers go to the journal %s: %s", self.backlog.folder, why)
        self._away = why
        self._wake.set()

    def _journal(self, group: list[_Pending]) -> None:
        waiting = [pending for pending in group if not pending.settled]
        if not waiting:
            return
        try:
            self.backlog.add([pending.entry for pending in waiting])
        except RecordsUnavailable as problem:
            # What is written to find out whether there is room again must be no smaller than what found none.
            size = sum(len(pending.entry.text) + len(pending.entry.patch or b"") for pending in waiting)
            self._probe_bytes = min(max(self._probe_bytes, 2 * size), MAX_PROBE_BYTES)
            self._refuse(problem.detail)
            for pending in waiting:
                pending.settle(problem)
            return
        for pending in waiting:
            pending.settle(Recorded(pending.entry.text))

    # The keeper

    def _keep(self) -> None:
        looked = probed = -ADOPT_S
        while not self._stopping:
            troubled = self._away or self._refusal or self._committing
            self._wake.wait(PROBE_S / 4 if troubled else PROBE_S)
            self._wake.clear()
            try:
                self._rescue()
                now = monotonic()
                if (self._away or self._refusal) and now - probed >= PROBE_S:
                    probed = now
                    self._probe()
                if not self._away and self._overdue() is None:
                    self.backlog.drain()
                    if now - looked >= ADOPT_S:
                        looked = now
                        self.backlog.adopt()
            except RecordsUnavailable as problem:
                self._went_away(problem.detail)
            except Exception:
                log.exception("the journal %s cannot be looked after", self.backlog.folder)

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
        if trouble := self._database_trouble():
            self._went_away(trouble)
            if self._refusal:
                self.check_journal()
            return
        self._recovered()
        self._probe_bytes = PROBE_BYTES
        if self._away:
            self._away = ""
            log.info("answers go to the database again")
