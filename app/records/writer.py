"""Group commit: the one thread that writes predictions, and what happens while the database is away."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from queue import Empty, SimpleQueue
from time import monotonic

from sqlalchemy import Engine

from app.problems import Problem, RecordsUnavailable
from app.records.availability import Availability
from app.records.backlog import Backlog
from app.records.commit import Committer
from app.records.database import refuses_for_good
from app.records.entry import LogEntry, Recorded
from app.records.keeper import Keeper

COMMIT_GROUP = 256
PATIENCE_S = 2.0

_entry_of = attrgetter("entry")

log = logging.getLogger("rosette.records")

Written = Recorded | Exception


@dataclass(slots=True, eq=False)
class _Pending:
    """An entry whose request waits. Settled once, by whoever is first: the commit, or the journal."""

    entry: LogEntry
    future: asyncio.Future[Written]
    settled: bool = False


class Writer(Availability):
    """Commits what waits, many rows at once; keeps a journal while the database refuses.

    A thread commits. Another one, the keeper, looks after the journal.

    Args:
        engine: the database.
        backlog: the journal.
    """

    def __init__(self, engine: Engine, backlog: Backlog) -> None:
        super().__init__(engine, backlog)
        self._committer = Committer(engine)
        self._arriving: list[_Pending] = []
        self._queue: SimpleQueue[list[_Pending] | None] = SimpleQueue()
        self._committing: tuple[float, list[_Pending]] | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._keeper = Keeper(self)

    def start(self) -> None:
        """Make the folder, and begin.

        Raises:
            OSError: if the folder cannot be made.
        """
        self.backlog.prepare()
        self._thread.start()
        self._keeper.start()

    def stop(self) -> None:
        """Write what waits, then end; what is still journalled stays for the next start."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(2 * PATIENCE_S)  # by then the keeper has journalled what waits
        self._keeper.stop()
        if not self.trouble:
            with suppress(RecordsUnavailable):
                self.backlog.drain()
        self.backlog.close()

    async def write(self, entries: Sequence[LogEntry]) -> list[Written]:
        """Have entries written together with all others of this moment; gives their outcomes when they are on the disk.

        All callers share one event loop, which is woken once for each commit.
        """
        if not entries:
            return []
        loop = asyncio.get_running_loop()
        if not self._arriving:
            loop.call_soon(self._hand_over)
        futures = []
        for entry in entries:
            futures.append(loop.create_future())
            self._arriving.append(_Pending(entry, futures[-1]))
        outcomes = []
        for future in futures:
            outcomes.append(await future)
        return outcomes

    def _hand_over(self) -> None:
        arrived, self._arriving = self._arriving, []
        self._queue.put(arrived)
        if self.overdue:
            self._keeper.wake()

    @property
    def waiting(self) -> int:
        """Groups of entries that wait for their commit."""
        return self._queue.qsize()

    # In the writer's thread

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._waiting_with(first)
            if self.trouble:
                self._journal(group)
            else:
                self._commit(group)
            if last:
                break
        self._committer.close()

    def _waiting_with(self, first: list[_Pending]) -> tuple[list[_Pending], bool]:
        group = first
        while len(group) < COMMIT_GROUP:
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
            outcomes: Sequence[Written] = self._committer.commit(list(map(_entry_of, group)))
        except RecordsUnavailable as problem:
            self._committing = None
            if refuses_for_good(problem):
                self._commit_singly(group, problem)
            else:
                self.go_to_journal(problem.detail)
                self._journal(group)
            return
        except Exception as error:
            log.exception("predictions could not be recorded")
            outcomes = [error] * len(group)
        self._committing = None
        _settle(group, outcomes)

    def _commit_singly(self, group: list[_Pending], problem: RecordsUnavailable) -> None:
        """One row that the database will not take must not keep the others out."""
        if len(group) == 1:
            log.error("a prediction was refused by the database: %s", problem.__cause__)
            _settle(group, [Problem("The database refused the answer; why is in the server's log.")])
            return
        for pending in group:
            self._commit([pending])

    # In both threads

    def troubled(self) -> None:
        self._keeper.wake()

    def _journal(self, group: list[_Pending]) -> None:
        waiting = [pending for pending in group if not pending.settled]
        if not waiting:
            return
        try:
            self.backlog.add([pending.entry for pending in waiting])
        except RecordsUnavailable as problem:
            self.refuse(problem.detail, [pending.entry for pending in waiting])
            _settle(waiting, [problem] * len(waiting))
        else:
            _settle(waiting, [Recorded(pending.entry.values["answer"]) for pending in waiting])

    # In the keeper's thread

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""
        return self._committing is not None

    @property
    def overdue(self) -> list[_Pending]:
        """What waits for a commit that takes too long."""
        committing = self._committing
        return committing[1] if committing and monotonic() - committing[0] > PATIENCE_S else []

    def rescue(self) -> None:
        """Journal what waits for a commit that takes too long, and everything behind it."""
        if not (rescued := self.overdue):
            return
        self.go_to_journal(f"The database has not committed within {PATIENCE_S:g} s.")
        self._journal(rescued)
        behind, last = self._waiting_with([])
        while behind:
            self._journal(behind)
            behind, last = self._waiting_with([]) if not last else ([], True)
        if last:  # the writer is to stop when its commit returns
            self._queue.put(None)


def _settle(group: Sequence[_Pending], outcomes: Sequence[Written]) -> None:
    """Wake the event loop once for all of them; from any thread."""
    if group:
        for pending in group:
            pending.settled = True
        with suppress(RuntimeError):  # the loop has been closed
            group[0].future.get_loop().call_soon_threadsafe(_deliver, group, outcomes)


def _deliver(group: Sequence[_Pending], outcomes: Sequence[Written]) -> None:
    for pending, outcome in zip(group, outcomes, strict=True):
        if not pending.future.done():
            pending.future.set_result(outcome)
