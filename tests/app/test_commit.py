"""Rows that go to the driver itself are those that SQLAlchemy would write; and indexes hold only what they are for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from app.problems import RecordsUnavailable
from app.records.commit import Committer
from app.records.database import refuses_for_good
from app.records.entry import LogEntry, Recorded
from app.records.idempotency import Repeatable
from app.records.migrations import migrate
from model_zoo.orbit import Rotations
from tests.app.conftest import answer_of, entry_of

MOMENT = datetime(2030, 1, 1, 12, 30, 0, 602_000, tzinfo=UTC)
VARIANTS: dict[str, dict[str, Any]] = {
    "an answer": {},
    "not assessable": {"label": None, "probability": None, "decision": "not_assessable"},
    "an orbit": {"basis": "orbit", "orbit_logits": (-1.5, 0.25), "case_id": "case-1", "slide_id": None},
}


def entries_of(patch: bytes | None, request: bool) -> list[LogEntry]:
    made = []
    for number, (name, changes) in enumerate(VARIANTS.items()):
        repeatable = Repeatable("key", name, "1" * 64) if request else None
        moment = MOMENT.astimezone(timezone(timedelta(hours=number)))
        made.append(entry_of(answer_of(moment, **changes), Rotations.FULL, "key", repeatable, patch))
    return made


def stored(database: Engine, table: str, key: str) -> list[tuple[object, ...]]:
    """The rows as the database itself has them, without SQLAlchemy's types."""
    with database.connect() as connection:
        rows = list(connection.execute(text(f"SELECT * FROM {table} ORDER BY {key}")))
        if database.dialect.name == "sqlite":
            kinds = ", ".join(f"typeof({name})" for name in rows[0]._mapping)
            rows += connection.execute(text(f"SELECT {kinds} FROM {table} ORDER BY {key}")).all()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("patch", [b"patch", None])
def test_both_ways_write_the_same_rows(database: Engine, patch: bytes | None) -> None:
    migrate(database)
    entries = entries_of(patch, request=False)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM predictions"))
    plain, ordinary = Committer(database), Committer(database)
    assert plain.commit(entries) == [Recorded(entry.text) for entry in entries]
    found = [stored(database, *table) for table in (("predictions", "id"),)]
    if patch:
        found.append(stored(database, "patches", "prediction_id"))
    with database.begin() as connection:
        for table in ("patches", "predictions"):
            connection.execute(text(f"DELETE FROM {table}"))
    claimed = [
        LogEntry(entry.values, Repeatable("key", str(number), "1" * 64), entry.patch)
        for number, entry in enumerate(entries)
    ]
    assert ordinary.commit(claimed) == [Recorded(entry.text) for entry in entries]
    again = [stored(database, "predictions", "id")]
    if patch:
        again.append(stored(database, "patches", "prediction_id"))
    assert again == found
    plain.close()
    ordinary.close()


def test_plain_rows_are_committed_when_the_call_returns(database: Engine) -> None:
    migrate(database)
    entries = entries_of(b"patch", request=False)
    committer = Committer(database)
    committer.commit(entries)
    assert len(stored(database, "patches", "prediction_id")) >= len(entries)
    committer.commit(entries_of(None, request=False))  # the connection goes on
    committer.close()


def test_what_a_row_spoils_leaves_nothing_behind_and_the_next_is_written(database: Engine) -> None:
    migrate(database)
    [first, second, third] = entries_of(None, request=False)
    committer = Committer(database)
    committer.commit([first])
    with pytest.raises(RecordsUnavailable) as caught:
        committer.commit([second, first])
    assert refuses_for_good(caught.value)
    assert committer.commit([second, third]) == [Recorded(second.text), Recorded(third.text)]
    committer.close()


def test_a_connection_that_broke_is_no_refusal_and_another_takes_its_place(postgres: Engine) -> None:
    migrate(postgres)
    [first, second, third] = entries_of(None, request=False)
    committer = Committer(postgres)
    committer.commit([first])
    with postgres.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    with pytest.raises(RecordsUnavailable) as caught:
        committer.commit([second])
    assert not refuses_for_good(caught.value)
    assert committer.commit([second, third]) == [Recorded(second.text), Recorded(third.text)]
    committer.close()


def test_sqlite_waits_for_the_disk_on_the_writers_connection_too(tmp_path: Path, sqlite: Engine) -> None:
    migrate(sqlite)
    seen: list[object] = []
    event.listen(
        sqlite, "checkout", lambda connection, *_: seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
    )
    committer = Committer(sqlite)
    committer.commit(entries_of(None, request=False))
    committer.close()
    assert seen == [2]


def test_indexes_of_slides_and_cases_hold_only_predictions_that_name_one(database: Engine) -> None:
    migrate(database)
    with database.connect() as connection:
        if database.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT name FROM pragma_index_list('predictions') WHERE partial")
        else:
            rows = connection.exec_driver_sql(
                "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indpred IS NOT NULL"
            )
        assert set(rows.scalars()) == {"ix_predictions_slide_id_id", "ix_predictions_case_id_id"}
