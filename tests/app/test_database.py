"""Commits that are on the disk when they return, and migrations that run once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from app.access.keys import Keys, Role
from app.problems import RecordsUnavailable
from app.records.database import open_database, transaction
from app.records.migrations import migrate, scripts
from app.records.predictions import PredictionLog
from app.records.tables import metadata
from app.settings import Settings
from tests.conftest import ROOT


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgres() -> Iterator[Engine]:
    """A new database beside the one that ROSETTE_TEST_POSTGRES_URL names."""
    url = os.environ.get("ROSETTE_TEST_POSTGRES_URL")
    if not url:
        pytest.skip("no PostgreSQL: set ROSETTE_TEST_POSTGRES_URL to one in which databases may be made")
    url = Settings(database_url=url).sqlalchemy_url()
    name = f"rosette_test_{os.getpid()}"
    beside = create_engine(url, isolation_level="AUTOCOMMIT")
    with beside.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = open_database(make_url(url).set(database=name).render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with beside.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    beside.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def test_sqlite_is_durable(sqlite: Engine) -> None:
    with sqlite.connect() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert read == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_postgresql_is_durable(postgres: Engine) -> None:
    with postgres.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert connection.execute(text("SHOW fsync")).scalar() in {"on", "off"}


def test_the_migrated_schema_is_the_tables(database: Engine) -> None:
    migrate(database)
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Engine) -> None:
    migrate(database)
    key = Keys(database).add(Role.READ, "kept")
    migrate(database)
    assert Keys(database).caller(key.encode()) is not None


def test_migrations_go_back(sqlite: Engine) -> None:
    migrate(sqlite)
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    with sqlite.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(sqlite).get_table_names() == ["alembic_version"]


def test_the_alembic_command_uses_the_settings(tmp_path: Path) -> None:
    environment = os.environ | {"ROSETTE_HOME": str(tmp_path)}
    program = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(program, check=True, cwd=ROOT, env=environment, capture_output=True)
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    assert {"keys", "predictions"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_servers_that_start_together_migrate_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rosette.db'}"
    program = f"""
from app.records.database import open_database
from app.records.migrations import migrate
migrate(open_database({url!r}))
"""
    starts = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(4)]
    assert [start.wait() for start in starts] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "no SQLAlchemy URL"),
        ("mysql://host/name", "names mysql, expected sqlite or postgresql"),
        ("sqlite://", "without a file"),
        ("sqlite:///:memory:", "without a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "without a file"),
    ],
)
def test_unfit_databases_are_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_database(url)


def test_a_database_that_fails_is_a_problem_that_hides_statement_and_values(sqlite: Engine) -> None:
    with pytest.raises(RecordsUnavailable, match=r"failed \(OperationalError\)") as failed:
        PredictionLog(sqlite).page(1)
    assert "SELECT" not in failed.value.detail
    assert isinstance(failed.value.__cause__, OperationalError)


def test_a_failed_transaction_leaves_nothing_behind(database: Engine) -> None:
    migrate(database)
    Keys(database).add(Role.READ, "kept")
    before = Keys(database).listing()
    with pytest.raises(RecordsUnavailable), transaction(database) as connection:
        connection.execute(text("UPDATE keys SET name = 'changed'")).connection.exec_driver_sql("SELECT nothing")
    PredictionLog(database).check_writable()
    assert Keys(database).listing() == before
    assert PredictionLog(database).page(1).answers == []


def test_a_read_only_database_is_noticed(sqlite: Engine) -> None:
    migrate(sqlite)
    with sqlite.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(RecordsUnavailable):
        PredictionLog(sqlite).check_writable()
