"""Group commit; no row is lost or doubled while the database hangs, refuses or is unavailable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Self

import pytest
from sqlalchemy import Engine, event, select, text

from app.problems import IdempotencyMismatch, Problem, RecordsUnavailable
from app.records.backlog import Backlog
from app.records.entry import LogEntry, Recorded
from app.records.idempotency import Repeatable
from app.records.journal import JournalFile
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.tables import patches, predictions
from app.records.writer import Writer, Written
from model_zoo.orbit import Rotations
from tests.app.conftest import answer_of, entry_of, write

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
PLENTY = 2**30


class Outcomes:
    """What each entry got, as it comes, from an event loop in a thread of its own."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._asked: dict[str, Future[list[Written]]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        wait(self._asked.values(), 60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, *entries: LogEntry) -> Future[list[Written]]:
        written = asyncio.run_coroutine_threadsafe(self._writer.write(entries), self._loop)
        self._asked[entries[0].id] = written
        return written

    def handed_over(self) -> None:
        """Wait until the writer has whatever was submitted."""
        for _ in range(2):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(60)

    def wait(self, entries: list[LogEntry]) -> list[Written]:
        return [self._asked[entry.id].result(60)[0] for entry in entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the journals; it exists, as after an earlier start."""
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


@contextmanager
def started(
    database: Engine, folder: Path, max_bytes: int = PLENTY, kind: type[Writer] = Writer
) -> Iterator[tuple[Writer, Outcomes]]:
    writer = kind(database, Backlog(database, folder, max_bytes))
    writer.start()
    with Outcomes(writer) as outcomes:
        yield writer, outcomes
        writer.stop()


@contextmanager
def hanging(database: Engine) -> Iterator[None]:
    """A lock of somebody else's lets no prediction be written."""
    with database.connect() as connection:
        if database.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE predictions IN EXCLUSIVE MODE"))
        else:
            connection = connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            connection.execute(text("UPDATE predictions SET label = label"))
        yield
        connection.rollback()


def entry(request: Repeatable | None = None) -> LogEntry:
    return entry_of(answer_of(MOMENT), Rotations.FULL, "key", request, b"patch")


def until(condition: object) -> None:
    assert callable(condition)
    deadline = monotonic() + 120
    while not condition():
        assert monotonic() < deadline


def recorded(database: Engine) -> list[str]:
    """The answers in the database, which all have their patches."""
    with database.connect() as connection:
        found = connection.execute(select(predictions.c.answer).join(patches)).scalars().all()
    assert len(found) == len(PredictionLog(database).page(10_000).answers)
    return sorted(found)


def commits_of(database: Engine) -> Callable[[], int]:
    """Counts the transactions that write predictions from now on."""
    if database.dialect.name == "postgresql":

        def transactions() -> int:
            with database.connect() as connection:
                number: int = connection.execute(
                    text("SELECT count(DISTINCT xmin::text) FROM predictions")
                ).scalar_one()
            return number

        return transactions
    statements: list[str] = []
    database.dispose()  # connections that are made from now on tell what they do
    event.listen(database, "connect", lambda connection, _: connection.set_trace_callback(statements.append))
    return lambda: statements.count("BEGIN IMMEDIATE") - 1  # the last is that of whoever lets it hang


def texts(entries: list[LogEntry]) -> list[str]:
    return sorted(entry.text for entry in entries)


def test_rows_that_wait_share_a_commit(database: Engine, folder: Path) -> None:
    migrate(database)
    entries = [entry() for _ in range(200)]
    with started(database, folder) as (_, outcomes):
        commits = commits_of(database)
        with hanging(database):
            for each in entries[:1]:
                outcomes.submit(each)
            for each in entries[1:]:
                outcomes.submit(each)
        assert outcomes.wait(entries) == [Recorded(each.text) for each in entries]
    assert recorded(database) == texts(entries)
    assert 0 < commits() <= 3
    assert list(folder.iterdir()) == []


def test_what_hangs_is_journalled_and_moved_when_the_database_is_back(database: Engine, folder: Path) -> None:
    migrate(database)
    entries = [entry() for _ in range(20)]
    with started(database, folder) as (writer, outcomes):
        with hanging(database):
            for each in entries[:10]:
                outcomes.submit(each)
            assert outcomes.wait(entries[:10]) == [Recorded(each.text) for each in entries[:10]]
            assert writer.trouble
            assert writer.backlog.size == 10
            for each in entries[10:]:
                outcomes.submit(each)
            assert outcomes.wait(entries[10:]) == [Recorded(each.text) for each in entries[10:]]
            assert all(writer.backlog.holds(each.id) for each in entries)
            assert recorded(database) == []
        until(lambda: writer.backlog.size == 0)
        assert not writer.trouble
        assert recorded(database) == texts(entries)
        assert not any(writer.backlog.holds(each.id) for each in entries)
        later = entry()
        outcomes.submit(later)
        outcomes.wait([later])
    assert recorded(database) == texts([*entries, later])
    assert list(folder.iterdir()) == []


def test_the_keeper_rests_while_a_commit_hangs(database: Engine, folder: Path) -> None:
    """It was woken by its own finding, again and again, for as long as the database hung."""

    woken: list[str] = []

    class Watched(Writer):
        def troubled(self) -> None:
            woken.append(self.trouble)
            super().troubled()

    migrate(database)
    with started(database, folder, kind=Watched) as (writer, outcomes), hanging(database):
        first, later = entry(), entry()
        outcomes.submit(first)
        outcomes.wait([first])
        assert writer.overdue
        writer.rescue()
        outcomes.submit(later)
        outcomes.wait([later])
        assert len(woken) == 1


def test_a_repeat_while_the_database_is_away_gets_the_first_answer(database: Engine, folder: Path) -> None:
    migrate(database)
    request = Repeatable("key", "again", "1" * 64)
    first = entry(request)
    with started(database, folder) as (writer, outcomes):
        with hanging(database):
            assert writer.backlog.first_answer(request) is None
            outcomes.submit(first)
            outcomes.wait([first])
            assert writer.backlog.first_answer(request) == Recorded(first.text, replayed=True)
            with pytest.raises(IdempotencyMismatch):
                writer.backlog.first_answer(Repeatable("key", "again", "2" * 64))
            assert writer.backlog.first_answer(Repeatable("another", "again", "1" * 64)) is None
        until(lambda: writer.backlog.size == 0)
        assert PredictionLog(database).first_answer(request) == Recorded(first.text, replayed=True)


def test_of_equal_requests_in_one_commit_one_is_recorded(database: Engine, folder: Path) -> None:
    migrate(database)
    same, other = Repeatable("key", "again", "1" * 64), Repeatable("key", "again", "2" * 64)
    blocker = entry()
    entries = [entry(same), entry(same), entry(other), entry()]
    with started(database, folder) as (_, outcomes):
        with hanging(database):
            for each in (blocker, *entries):
                outcomes.submit(each)
        first, second, third, fourth = outcomes.wait(entries)
    assert first == Recorded(entries[0].text)
    assert second == Recorded(entries[0].text, replayed=True)
    assert isinstance(third, IdempotencyMismatch)
    assert fourth == Recorded(entries[3].text)
    assert recorded(database) == texts([blocker, entries[0], entries[3]])


def test_a_row_that_the_database_refuses_keeps_no_other_out(database: Engine, folder: Path) -> None:
    migrate(database)
    good = [entry() for _ in range(4)]
    twice = LogEntry(good[0].values | {"answer": "another"})
    with started(database, folder) as (_, outcomes):
        outcomes.submit(good[0])
        outcomes.wait(good[:1])
        blocker = entry()
        with hanging(database):
            outcomes.submit(blocker)
            outcomes.submit(good[1])
            written = outcomes.submit(twice, good[3])
            outcomes.submit(good[2])
        outcomes.wait([blocker, *good[:3]])
        delivered = written.result(60)
    assert isinstance(delivered[0], Problem)
    assert delivered[1] == Recorded(good[3].text)
    assert not isinstance(delivered[0], RecordsUnavailable)
    assert recorded(database) == texts([blocker, *good])


def test_without_a_journal_nothing_is_answered(database: Engine, folder: Path) -> None:
    migrate(database)
    refused = entry()
    with started(database, folder, max_bytes=0) as (writer, outcomes), hanging(database):
        outcomes.submit(refused)
        [outcome] = outcomes.wait([refused])
        assert isinstance(outcome, RecordsUnavailable)
        with pytest.raises(RecordsUnavailable, match="Neither the database nor the journal"):
            writer.backlog.check()


def test_whoever_starts_adopts_what_a_dead_process_left(database: Engine, folder: Path) -> None:
    """One of the entries had been committed before its process died."""
    migrate(database)
    entries = [entry() for _ in range(600)]
    left = JournalFile.create(folder)
    left.append(entries, PLENTY)
    left.close()
    living = JournalFile.create(folder)
    living.append([entry()], PLENTY)
    write(database, entries[3])
    with started(database, folder) as (writer, _):
        until(lambda: not left.path.exists())
        assert not writer.backlog.holds(entries[0].id)
    assert recorded(database) == texts(entries)
    assert living.path.exists()
    living.close()


def test_what_the_database_refuses_for_good_is_set_aside(database: Engine, folder: Path) -> None:
    migrate(database)
    good, bad = entry(), entry()
    bad = LogEntry(bad.values | {"decision": None})
    left = JournalFile.create(folder)
    left.append([bad, good], PLENTY)
    left.close()
    with started(database, folder):
        until(lambda: not left.path.exists())
    assert recorded(database) == [good.text]
    assert LogEntry.from_json((folder / "refused.jsonl").read_text()) == bad


def test_stopping_commits_what_waits(database: Engine, folder: Path) -> None:
    migrate(database)
    entries = [entry() for _ in range(50)]
    with started(database, folder) as (_, outcomes):
        for each in entries:
            outcomes.submit(each)
        outcomes.handed_over()
    assert recorded(database) == texts(entries)
