"""Old predictions are deleted with all dependent rows, with an audit row."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, Table, func, insert, select, update

from app.records.audit import SERVER, AuditTrail
from app.records.database import open_database
from app.records.idempotency import Repeatable, fingerprint
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.retention import ACTION, MAX_ROWS, Retention, keep_no_longer
from app.records.reviews import Reviews
from app.records.shadow_scores import Score, ShadowScores
from app.records.tables import idempotency, models, patches, predictions, reviews, shadow_scores, verdicts
from app.settings import Settings
from model_zoo.orbit import Rotations
from tests.app.conftest import RunningServer, answer_of, entry_of, row_of, write

DAY = timedelta(days=1)


def told(engine: Engine) -> list[dict[str, Any]]:
    """What the audit trail says was deleted, oldest first."""
    entries = AuditTrail(engine).page(200).entries[::-1]
    return [json.loads(entry.after or "") for entry in entries if entry.action == ACTION]


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def add(engine: Engine, moments: list[datetime]) -> list[str]:
    """Predictions of these moments; gives their ids."""
    rows = [row_of(answer_of(moment), Rotations.FULL, "key") for moment in moments]
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)
    return [each["id"] for each in rows]


def test_what_is_too_old_goes_with_all_that_hangs_on_it(database: Engine) -> None:
    migrate(database)
    trail, log = AuditTrail(database), PredictionLog(database)
    now = datetime.now(UTC)
    shadow = {column.name: "-" for column in models.columns if not column.nullable}
    with database.begin() as connection:
        connection.execute(insert(models), shadow | {"size": 0, "data": b"", "uploaded_at": now})
    kept_at, gone_at = now - 30 * DAY + timedelta(minutes=1), now - 30 * DAY - timedelta(minutes=1)
    for number, moment in enumerate((gone_at - DAY, gone_at, kept_at, now)):
        answer = answer_of(moment)
        request = Repeatable("key", f"request {number}", fingerprint(b""))
        write(database, entry_of(answer, Rotations.FULL, "key", request, b"patch"))
        Reviews(database, trail).add(answer.id, "agree", "", SERVER)
        ShadowScores(database).record([Score(str(answer.id), "-", "-", None, None, None, None)])
    kept = log.page(2)
    assert Retention(database, trail, 30).delete_some() == 2
    assert log.page(10).answers == kept.answers
    with database.connect() as connection:
        hanging = [
            connection.execute(select(table.c.prediction_id).order_by(table.c.prediction_id.desc())).scalars().all()
            for table in (patches, reviews, verdicts, shadow_scores, idempotency)
        ]
    assert hanging == [[json.loads(text)["id"] for text in kept.answers]] * 5
    [deletion] = told(database)
    oldest, newest = (datetime.fromisoformat(deletion.pop(end)) for end in ("oldest", "newest"))
    assert deletion == {"deleted": 2, "retention_days": 30}
    assert (oldest, newest) == (gone_at - DAY, gone_at)
    assert Retention(database, trail, 30).delete_some() == 0
    assert len(told(database)) == 1
    assert trail.verify().broken is None


def test_without_a_setting_everything_is_kept(sqlite: Engine) -> None:
    migrate(sqlite)
    add(sqlite, [datetime(1990, 1, 1, tzinfo=UTC)])
    assert Retention(sqlite, AuditTrail(sqlite), None).delete_some() == 0
    assert count(sqlite, predictions) == 1
    assert told(sqlite) == []


def test_a_deletion_that_the_trail_cannot_tell_of_does_not_happen(sqlite: Engine) -> None:
    migrate(sqlite)
    add(sqlite, [datetime(1990, 1, 1, tzinfo=UTC)])
    with sqlite.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(Exception, match="The database failed"):
        Retention(sqlite, AuditTrail(sqlite), 1).delete_some()
    assert count(sqlite, predictions) == 1


def test_idempotency_keys_are_forgotten_after_24_hours_whatever_is_kept(database: Engine) -> None:
    migrate(database)
    for name in ("old", "new"):
        request = Repeatable("key", name, fingerprint(b""))
        write(database, entry_of(answer_of(datetime.now(UTC)), Rotations.FULL, "key", request))
    with database.begin() as connection:
        old = idempotency.c.idempotency_key == "old"
        connection.execute(update(idempotency).where(old).values(created_at=datetime.now(UTC) - DAY))
    Retention(database, AuditTrail(database), None).forget_requests()
    with database.connect() as connection:
        assert connection.execute(select(idempotency.c.idempotency_key)).scalars().all() == ["new"]
    assert count(database, predictions) == 2


class Heard(logging.Handler):
    """Queues what a logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.put_nowait(record.getMessage())


@contextmanager
def hearing() -> Iterator[asyncio.Queue[str]]:
    heard = Heard()
    logger = logging.getLogger("rosette.records")
    logger.addHandler(heard)
    try:
        yield heard.said
    finally:
        logger.removeHandler(heard)


def test_it_goes_on_again_and_again_even_if_the_database_failed(
    empty_sqlite: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    old = datetime(2000, 1, 1, tzinfo=UTC)

    async def listen() -> None:
        retention = Retention(empty_sqlite, AuditTrail(empty_sqlite), 1)
        with hearing() as said:
            task = asyncio.create_task(keep_no_longer(retention, every_s=0.01))
            try:
                async with asyncio.timeout(120):
                    assert (await said.get()).startswith("Old predictions cannot be deleted: The database failed")
                    migrate(empty_sqlite)
                    for number in (2 * MAX_ROWS + 1, 1):
                        add(empty_sqlite, [old + timedelta(seconds=second) for second in range(number)])
                        while not (await said.get()).startswith("1 predictions were deleted"):
                            pass
            finally:
                task.cancel()
                await asyncio.wait([task])

    with caplog.at_level(logging.INFO, "rosette.records"):
        asyncio.run(listen())
    deletions = told(empty_sqlite)
    assert [each["deleted"] for each in deletions] == [MAX_ROWS, MAX_ROWS, 1, 1]
    assert deletions[1]["oldest"] == (old + timedelta(seconds=MAX_ROWS)).isoformat()
    assert count(empty_sqlite, predictions) == 0


def test_a_server_deletes_at_its_start(database_url: str, tmp_path: Path, artifact_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=database_url)
    engine = open_database(settings.sqlalchemy_url())
    migrate(engine)
    gone, kept = add(engine, [datetime.now(UTC) - 3 * DAY, datetime.now(UTC) - DAY])
    with RunningServer(tmp_path, artifact_path, database_url=database_url, retention_days=2) as running:
        until = monotonic() + 120
        while not told(engine):
            assert monotonic() < until
            sleep(0.02)
        assert running.client.get(f"/predictions/{gone}").status_code == 404
        assert running.client.get(f"/predictions/{kept}").status_code == 200
        assert UUID(running.client.get("/predictions").json()["predictions"][0]["id"]) == UUID(kept)
    engine.dispose()


@pytest.mark.parametrize("days", [0, -1, 36501, 1.5])
def test_unfit_days_are_refused(days: float) -> None:
    with pytest.raises(ValidationError, match="retention_days"):
        Settings(retention_days=days)
