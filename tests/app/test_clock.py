"""A clock that runs ahead, and one that is set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, insert, inspect, select, text
from uuid_utils import UUID, uuid7

from app.diagnosis.identity import new_id
from app.records.audit import SERVER, AuditTrail
from app.records.clock import JUMP, ClockJumpedError
from app.records.database import open_database
from app.records.migrations import migrate, scripts
from app.records.retention import CONFIRMED, Retention
from app.records.tables import clock, predictions
from model_zoo.orbit import Rotations
from tests.app.conftest import answer_of, row_of
from tests.app.test_retention import add, count
from tests.installed import rosette

DAY = timedelta(days=1)
YEAR = timedelta(days=365)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def milliseconds(answer_id: UUID) -> int:
    return answer_id.int >> 80


@pytest.mark.parametrize("ahead_s", [2.0, 3600.0, 365 * 86400.0, -3600.0])
def test_an_answers_time_is_the_clocks_whatever_it_said_before(ahead_s: float) -> None:
    """Ids that grow go on from where the clock had been; the answer's time does not."""
    now = NOW.timestamp()
    answer_id, created_at = new_id(lambda: now, lambda: uuid7(nanoseconds=int((now + ahead_s) * 1e9)))
    assert created_at == NOW
    assert milliseconds(answer_id) == now * 1000
    assert answer_id.version == 7


def test_ids_grow_while_the_clock_goes_its_way() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    for answer_id, created_at in ids:
        assert milliseconds(answer_id) == round(created_at.timestamp() * 1000)


class Moment:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_a_clock_that_jumped_ahead_deletes_nothing(database: Engine) -> None:
    migrate(database)
    add(database, [NOW - 40 * DAY, NOW - 20 * DAY, NOW])
    moment = Moment()
    retention = Retention(database, AuditTrail(database), 30, moment)
    assert retention.delete_some() == 1
    moment.now = NOW + YEAR
    for _ in range(3):
        with pytest.raises(ClockJumpedError, match="rosette retention --confirm-clock"):
            retention.delete_some()
        moment.now += DAY
    again = Retention(database, AuditTrail(database), 30, moment)  # as after a restart
    with pytest.raises(ClockJumpedError, match="last seen at 2026-11-29 12:00"):
        again.delete_some()
    assert count(database, predictions) == 2
    moment.now = NOW + 2 * DAY  # set right
    assert retention.delete_some() == 0
    moment.now = NOW + 7 * DAY
    assert retention.delete_some() == 0
    moment.now = NOW + 11 * DAY
    assert retention.delete_some() == 1


def test_an_administrator_may_say_that_the_clock_is_right(database: Engine) -> None:
    migrate(database)
    add(database, [NOW])
    moment, trail = Moment(), AuditTrail(database)
    retention = Retention(database, trail, 30, moment)
    assert retention.delete_some() == 0
    moment.now = NOW + YEAR
    with pytest.raises(ClockJumpedError):
        retention.delete_some()
    retention.confirm_clock(SERVER)
    assert retention.delete_some() == 1
    assert [entry.action for entry in trail.page(10).entries][-1] == CONFIRMED


def test_a_clock_that_went_back_and_comes_again_has_not_jumped(database: Engine) -> None:
    """Such as of a machine that begins at 1970 until it has asked for the time."""
    migrate(database)
    moment = Moment()
    retention = Retention(database, AuditTrail(database), 30, moment)
    for now in (NOW, datetime(1970, 1, 1, tzinfo=UTC), NOW + JUMP - DAY, NOW + 2 * JUMP - 2 * DAY):
        moment.now = now
        assert retention.delete_some() == 0


def test_without_retention_the_time_is_seen_too(database: Engine) -> None:
    migrate(database)
    moment = Moment()
    Retention(database, AuditTrail(database), None, moment).check_clock()
    moment.now = NOW + YEAR
    with pytest.raises(ClockJumpedError):
        Retention(database, AuditTrail(database), 30, moment).delete_some()


def test_the_migration_begins_with_the_newest_row(empty: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    with empty.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        known = {column["name"] for column in inspect(connection).get_columns("predictions")}
        rows = [row_of(answer_of(moment), Rotations.FULL, "key") for moment in (NOW - DAY, NOW)]
        earlier = [{name: value for name, value in each.items() if name in known} for each in rows]
        connection.execute(insert(predictions), earlier)
    migrate(empty)
    with empty.connect() as connection:
        assert connection.execute(select(clock.c.seen_at)).scalars().all() == [NOW]


def test_the_shell_says_whether_the_clock_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path))
    monkeypatch.setenv("ROSETTE_RETENTION_DAYS", "30")
    said = rosette("retention")
    assert "kept for 30 days" in said
    assert "The clock is trusted" in said
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE clock SET seen_at = '2001-01-01 00:00:00'"))
    engine.dispose()
    assert "nothing is deleted: the clock says" in rosette("retention", code=1)
    assert "The clock is trusted" in rosette("retention", "--confirm-clock")
    assert "clock.confirm" in rosette("audit", "list")
