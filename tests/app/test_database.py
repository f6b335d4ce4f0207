"""Commits are on the disk when they return; migrations run once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import OperationalError

from app.access.caller import Role
from app.access.keys import Keys
from app.problems import RecordsUnavailable
from app.records.audit import SERVER, AuditTrail, Event
from app.records.database import open_database, transaction
from app.records.migrations import TRIGGERS, UnprotectedTrailError, check_triggers, migrate, newest, scripts
from app.records.predictions import PredictionLog, check_writable
from app.records.tables import metadata
from app.settings import Settings
from tests.conftest import ROOT


@pytest.fixture
def sqlite(empty_sqlite: Engine) -> Engine:
    """An empty one, as the migrations are tested here."""
    return empty_sqlite


@pytest.fixture
def postgres(empty_postgres: Engine) -> Engine:
    return empty_postgres


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
    keys = Keys(database, AuditTrail(database))
    key = keys.add(Role.READ, "kept", SERVER).key
    migrate(database)
    assert keys.caller(key.encode()) is not None


def test_files_of_migrations_begin_with_their_revisions() -> None:
    known = ScriptDirectory(str(scripts()))
    for script in known.walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")
    assert newest(scripts()) == known.get_current_head()


def test_a_current_database_is_served_without_alembic(sqlite: Engine) -> None:
    program = (
        "import sys; from app.records.database import open_database; from app.records.migrations import migrate; "
        "migrate(open_database(sys.argv[1])); print('alembic' in sys.modules)"
    )
    url = sqlite.url.render_as_string(hide_password=False)
    said = [subprocess.check_output([sys.executable, "-c", program, url], cwd=ROOT, text=True) for _ in range(2)]
    assert said == ["True\n", "False\n"]


def test_migrations_go_back(sqlite: Engine) -> None:
    migrate(sqlite)
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    with sqlite.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(sqlite).get_table_names() == ["alembic_version"]


def test_the_audit_trail_is_protected_at_head(database: Engine) -> None:
    migrate(database)
    with database.connect() as connection:
        check_triggers(connection)


@pytest.mark.parametrize("trigger", ["audit_update", "audit_delete", "audit_replace"])
def test_a_dropped_trigger_stops_the_start_on_sqlite(sqlite: Engine, trigger: str) -> None:
    migrate(sqlite)
    with sqlite.begin() as connection:
        connection.execute(text(f"DROP TRIGGER {trigger}"))
    with pytest.raises(UnprotectedTrailError, match=rf"the table audit lacks its triggers {trigger}, so rows could"):
        migrate(sqlite)


@pytest.mark.parametrize("trigger", ["audit_change", "audit_truncate"])
@pytest.mark.parametrize("how", ["DROP TRIGGER {} ON audit", "ALTER TABLE audit DISABLE TRIGGER {}"])
def test_a_dropped_or_disabled_trigger_stops_the_start_on_postgresql(postgres: Engine, how: str, trigger: str) -> None:
    migrate(postgres)
    with postgres.begin() as connection:
        connection.execute(text(how.format(trigger)))
    with pytest.raises(UnprotectedTrailError, match=rf"the table audit lacks its triggers {trigger}, so rows could"):
        migrate(postgres)


def test_a_migration_that_recreates_the_trail_without_its_triggers_is_undone(database: Engine, tmp_path: Path) -> None:
    migrate(database)
    entry = AuditTrail(database).record(SERVER, Event("test", "kept"))
    head = ScriptDirectory(str(scripts())).get_current_head()
    folder = tmp_path / "alembic"
    shutil.copytree(scripts(), folder)
    (folder / "versions" / "careless.py").write_text(
        f"""
from alembic import op

revision, down_revision, branch_labels, depends_on = "careless", {head!r}, None, None


def upgrade():
    op.execute("CREATE TABLE copied AS SELECT * FROM audit")
    op.execute("DROP TABLE audit")
    op.execute("ALTER TABLE copied RENAME TO audit")
"""
    )
    with pytest.raises(UnprotectedTrailError) as refused:
        migrate(database, folder)
    assert all(trigger in str(refused.value) for trigger in TRIGGERS[database.dialect.name])
    with database.connect() as connection:
        check_triggers(connection)
        assert MigrationContext.configure(connection).get_current_revision() == head
    assert AuditTrail(database).page(2).entries == [entry]


def test_the_alembic_command_uses_the_settings(tmp_path: Path) -> None:
    environment = os.environ | {"ROSETTE_HOME": str(tmp_path)}
    program = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(program, check=True, cwd=ROOT, env=environment, capture_output=True)
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    assert {"keys", "predictions"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_servers_that_start_together_migrate_once(database_url: str) -> None:
    url = Settings(database_url=database_url).sqlalchemy_url()
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
        ("nonsense", "not a SQLAlchemy URL"),
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
    keys = Keys(database, AuditTrail(database))
    keys.add(Role.READ, "kept", SERVER)
    before = keys.listing()
    with pytest.raises(RecordsUnavailable), transaction(database) as connection:
        connection.execute(text("UPDATE keys SET name = 'changed'")).connection.exec_driver_sql("SELECT nothing")
    check_writable(database)
    assert keys.listing() == before
    assert PredictionLog(database).page(1).answers == []


def test_a_read_only_database_is_noticed(sqlite: Engine) -> None:
    migrate(sqlite)
    with sqlite.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(RecordsUnavailable):
        check_writable(sqlite)
