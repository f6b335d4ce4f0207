"""Who looks after the journal: the thread that journals what hangs, and moves it when the database is back."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING

from app.problems import RecordsUnavailable

if TYPE_CHECKING:
    from app.records.writer import Writer

PROBE_S = 1.0
ADOPT_S = 5.0

log = logging.getLogger("rosette.records")


class Keeper:
    """A thread beside the writer's.

    When a commit takes too long, it journals what waits. When the database is back, it moves there what was journalled,
    also by processes that have ended.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Have it look at once."""
        self._wake.set()

    def _run(self) -> None:
        writer, backlog = self._writer, self._writer.backlog
        looked = probed = -ADOPT_S
        while not self._stopping:
            troubled = writer.trouble or writer.refusal or writer.committing
            self._wake.wait(PROBE_S / 4 if troubled else PROBE_S)
            self._wake.clear()
            try:
                writer.rescue()
                now = monotonic()
                if (writer.trouble or writer.refusal) and now - probed >= PROBE_S:
                    probed = now
                    if not writer.committing:
                        writer.probe()
                if not writer.trouble and not writer.overdue:
                    backlog.drain()
                    if now - looked >= ADOPT_S:
                        looked = now
                        backlog.adopt()
            except RecordsUnavailable as problem:
                writer.go_to_journal(problem.detail)
            except Exception:
                log.exception("the journal %s cannot be looked after", backlog.folder)
