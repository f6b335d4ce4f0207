"""Whether answers can be recorded: in the database, or in the journal while that is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Engine

from app.problems import RecordsUnavailable
from app.records.backlog import Backlog
from app.records.entry import LogEntry
from app.records.predictions import PROBE_BYTES, check_writable

MAX_PROBE_BYTES = 8 * 2**20

log = logging.getLogger("rosette.records")


class Availability:
    """What is known of the database and of the journal; any thread may ask.

    Args:
        engine: the database.
        backlog: the journal.

    Attributes:
        backlog: the same.
        trouble: why answers go to the journal; empty if they do not.
        refusal: why no answer can be recorded, neither in the database nor in the journal; empty if it can.
    """

    def __init__(self, engine: Engine, backlog: Backlog) -> None:
        self.backlog = backlog
        self.trouble = ""
        self.refusal = ""
        self._engine = engine
        self._probe_bytes = PROBE_BYTES

    def check(self) -> str:
        """Find out whether the database takes answers; gives why they go to the journal, empty if they do not."""
        if not self.trouble:
            if trouble := self._database_trouble():
                self.go_to_journal(trouble)
            else:
                self._recovered()
        return self.trouble

    def check_journal(self) -> None:
        """Find out whether the journal takes answers; :attr:`refusal` tells from now on."""
        try:
            self.backlog.check(self._probe_bytes)
        except RecordsUnavailable as problem:
            self.refuse(problem.detail)
        else:
            self._recovered()

    def probe(self) -> None:
        """Find out whether the database is back, or the journal takes answers again."""
        if trouble := self._database_trouble():
            self.go_to_journal(trouble)
            if self.refusal:
                self.check_journal()
            return
        self._recovered()
        self._probe_bytes = PROBE_BYTES
        if self.trouble:
            self.trouble = ""
            log.info("answers go to the database again")

    def go_to_journal(self, why: str) -> None:
        """Take the database for away."""
        begins, self.trouble = not self.trouble, why
        if begins:
            log.warning("answers go to the journal %s: %s", self.backlog.folder, why)
            self.troubled()

    def refuse(self, why: str, entries: Sequence[LogEntry] = ()) -> None:
        """Take the journal for away too.

        Args:
            entries: what it did not take; what is written to find out whether there is room again is no smaller.
        """
        size = sum(len(entry.text) + len(entry.patch or b"") for entry in entries)
        self._probe_bytes = min(max(self._probe_bytes, 2 * size), MAX_PROBE_BYTES)
        begins, self.refusal = not self.refusal, why
        if begins:
            log.error("no patch is answered: %s", why)
            self.troubled()

    def troubled(self) -> None:
        """Called when trouble begins; here it does nothing."""

    def _recovered(self) -> None:
        if self.refusal:
            log.info("patches are answered again")
        self.refusal = ""

    def _database_trouble(self) -> str:
        try:
            check_writable(self._engine, self._probe_bytes)
        except RecordsUnavailable as problem:
            return problem.detail
        return ""
