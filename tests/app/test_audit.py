"""The audit trail: its content, its protection, and the detection of changes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from app.access.caller import Role
from app.commands.audit import audit as command
from app.problems import RecordsUnavailable
from app.records.audit import ORIGIN, SERVER, Actor, AuditRow, AuditTrail, Event, TrailHead
from app.records.audit_head import log_head
from app.records.database import BUSY_TIMEOUT_S, open_database
from app.records.migrations import TRIGGERS, migrate
from app.records.settings_audit import ACTION, in_force, record_settings
from app.records.tables import audit
from app.settings import Settings
from tests.app.conftest import RunningServer, assert_problem
from tests.conftest import ROOT

NESTED: dict[str, Any] = {
    "name": "Müller – 病理 🔬 \u2028 \x00 \x7f \"'\\",
    "none": None,
    "deep": [{"a": [1, -2.5e-7, 10**20, True, None]}, {}],
    "": "",
}
CHANGED = "row {} was changed: its hash does not fit its columns"


@pytest.fixture
def trail(database: Engine) -> AuditTrail:
    migrate(database)
    return AuditTrail(database)


@pytest.fixture
def six(trail: AuditTrail) -> list[AuditRow]:
    """Six rows, oldest first."""
    actor = Actor("key 0123456789ab", "10.0.0.7")
    return [trail.record(actor, Event("test", str(number), None, {"number": number})) for number in range(1, 7)]


def rows(trail: AuditTrail) -> list[AuditRow]:
    """Every row, oldest first."""
    return trail.page(10_000).entries[::-1]


def tamper(database: Engine, *statements: Any) -> None:
    """Change the trail as somebody who owns the database could."""
    dialect = database.dialect.name
    with database.begin() as connection:
        for trigger in TRIGGERS[dialect]:
            connection.execute(text(f"DROP TRIGGER {trigger}" + (" ON audit" if dialect == "postgresql" else "")))
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)


def sealed(entry: AuditRow, **changes: Any) -> AuditRow:
    """The row, changed, with a hash that fits it."""
    changed = replace(entry, **changes)
    return replace(changed, hash=changed.right_hash())


def test_rows_come_back_as_they_were_written(trail: AuditTrail) -> None:
    written = [
        trail.record(Actor("Zoë", "2001:db8::1"), Event("model.activate", "µ", NESTED, {})),
        trail.record(SERVER, Event("test", "nothing")),
    ]
    assert rows(trail) == written
    assert json.loads(written[0].before or "") == NESTED
    assert [(entry.before is None, entry.after) for entry in written] == [(False, "{}"), (True, None)]
    assert trail.verify().broken is None


def test_each_row_carries_the_hash_of_the_one_before(trail: AuditTrail, six: list[AuditRow]) -> None:
    assert [entry.number for entry in six] == [1, 2, 3, 4, 5, 6]
    assert [entry.previous for entry in six] == [ORIGIN, *(entry.hash for entry in six[:-1])]
    assert trail.head() == TrailHead(6, six[5].hash)
    found = trail.verify()
    assert (found.rows, found.head, found.broken) == (6, trail.head(), None)


def test_an_empty_trail_is_whole_and_has_no_head(trail: AuditTrail) -> None:
    found = trail.verify()
    assert (found.rows, found.head, found.broken, trail.head()) == (0, None, None, None)


def test_times_are_utc(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        earliest = datetime.now(UTC)
        at = trail.record(SERVER, Event("test", "now")).at
        latest = datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at)
    assert earliest <= datetime.fromisoformat(at) <= latest


def test_pages_join_to_everything_newest_first(trail: AuditTrail, six: list[AuditRow]) -> None:
    first = trail.page(4)
    assert (first.entries, first.next) == (six[:1:-1], 3)
    second = trail.page(4, first.next)
    assert (second.entries, second.next) == (six[1::-1], None)
    assert trail.page(6).next is None


def test_a_change_that_fails_leaves_no_row(trail: AuditTrail, six: list[AuditRow]) -> None:
    def change() -> None:
        with trail.transaction() as connection:
            trail.append(connection, SERVER, Event("test", "never"))
            connection.execute(text("SELECT nothing"))

    with pytest.raises(RecordsUnavailable):
        change()
    assert rows(trail) == six
    trail.record(SERVER, Event("test", "later"))
    assert trail.verify().rows == 7


ROW = "INTO audit SELECT * FROM audit WHERE number = 3"
CHANGES = {
    "both": (
        "UPDATE audit SET who = 'nobody' WHERE number = 3",
        "DELETE FROM audit WHERE number = 3",
        "DELETE FROM audit",
        f"INSERT {ROW} ON CONFLICT (number) DO UPDATE SET who = 'nobody'",
    ),
    "sqlite": (
        f"INSERT OR REPLACE {ROW}",
        f"REPLACE {ROW}",
        "UPDATE OR REPLACE audit SET number = 4 WHERE number = 3",
    ),
    "postgres": ("TRUNCATE audit",),
}


@pytest.mark.parametrize(
    ("database", "statement"),
    [(each, statement) for each in ("sqlite", "postgres") for statement in CHANGES["both"] + CHANGES[each]],
    indirect=["database"],
)
def test_the_database_refuses_to_change_rows(
    database: Engine, trail: AuditTrail, six: list[AuditRow], statement: str
) -> None:
    with pytest.raises(DBAPIError, match="the audit trail is append-only"), database.begin() as connection:
        connection.execute(text(statement))
    assert rows(trail) == six


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        *(
            (
                f"UPDATE audit SET {column} = 'x' WHERE number = 3",
                CHANGED.format(3),
            )
            for column in ("at", "who", "address", "action", "subject", "after", "previous", "hash")
        ),
        ("UPDATE audit SET before = 'null' WHERE number = 3", CHANGED.format(3)),
        ("UPDATE audit SET after = NULL WHERE number = 3", CHANGED.format(3)),
        ("UPDATE audit SET number = 9 WHERE number = 3", "row 3 is missing: row 4 stands in its place"),
        ("UPDATE audit SET number = 0 WHERE number = 3", "row 1 is missing: row 0 stands in its place"),
        ("DELETE FROM audit WHERE number = 3", "row 3 is missing: row 4 stands in its place"),
        ("DELETE FROM audit WHERE number < 3", "row 1 is missing: row 3 stands in its place"),
    ],
)
def test_a_row_that_was_changed_or_removed_is_named(
    database: Engine, trail: AuditTrail, six: list[AuditRow], statement: str, broken: str
) -> None:
    tamper(database, statement)
    found = trail.verify()
    assert found.broken == broken
    fit = int(broken.split()[1]) - 1
    assert (found.rows, found.head) == (fit, TrailHead(fit, six[fit - 1].hash) if fit else None)


def test_bytes_in_place_of_text_are_a_change(sqlite: Engine) -> None:
    migrate(sqlite)
    trail = AuditTrail(sqlite)
    trail.record(SERVER, Event("test", "1"))
    tamper(sqlite, "UPDATE audit SET subject = CAST(subject AS BLOB)")
    assert trail.verify().broken == CHANGED.format(1)


def test_a_row_that_was_changed_and_hashed_anew_breaks_the_next_link(
    database: Engine, trail: AuditTrail, six: list[AuditRow]
) -> None:
    forged = sealed(six[2], who="nobody")
    tamper(database, audit.update().where(audit.c.number == 3).values(vars(forged)))
    found = trail.verify()
    assert found.broken == "row 4 follows another row 3: it carries another hash than that row has"
    assert found.rows == 3


@pytest.mark.parametrize("kept", [0, 3, 5])
def test_a_cut_tail_is_found_by_a_head_kept_elsewhere(
    database: Engine, trail: AuditTrail, six: list[AuditRow], kept: int
) -> None:
    head = trail.head()
    tamper(database, f"DELETE FROM audit WHERE number > {kept}")
    assert trail.verify().broken is None
    found = trail.verify(head)
    assert found.broken == f"row 6 of the given head is missing: the rows after row {kept} were removed"
    assert found.rows == kept


def test_another_history_is_found_by_a_head_kept_elsewhere(
    database: Engine, trail: AuditTrail, six: list[AuditRow]
) -> None:
    head = trail.head()
    forged = [sealed(six[2], who="nobody")]
    for entry in six[3:]:
        forged.append(sealed(entry, previous=forged[-1].hash))
    tamper(database, "DELETE FROM audit WHERE number > 2", insert(audit).values([vars(entry) for entry in forged]))
    assert trail.verify().broken is None
    found = trail.verify(head)
    assert found.broken == "row 6 has another hash than the given head: this is another history"
    assert found.rows == 5


def test_an_older_head_still_fits_a_trail_that_went_on(trail: AuditTrail, six: list[AuditRow]) -> None:
    found = trail.verify(TrailHead(3, six[2].hash))
    assert (found.rows, found.broken) == (6, None)


def test_heads_are_read_as_they_are_printed() -> None:
    head = TrailHead(12, "0a" * 32)
    assert TrailHead.parse(str(head)) == head
    for wrong in (
        "",
        "12",
        f"0:{head.hash}",
        f"-1:{head.hash}",
        f"1:{head.hash}0",
        f"1:{head.hash.upper()}",
        f" {head}",
    ):
        with pytest.raises(ValueError, match="is not a head of an audit trail, expected NUMBER:HASH"):
            TrailHead.parse(wrong)


VERIFIER = """
import re, sys
from pathlib import Path
from app.records.audit import AuditTrail
from app.records.database import open_database

def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

trail = AuditTrail(open_database(sys.argv[1]))
trail.page(1)
before = peak_kib()
print(trail.verify().rows, peak_kib() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_long_trail_is_verified_in_constant_memory(database: Engine, trail: AuditTrail) -> None:
    with trail.transaction() as connection:
        for number in range(2000):
            trail.append(connection, SERVER, Event("test", str(number), None, {"text": "x" * 20_000}))
    url = database.url.render_as_string(hide_password=False)
    done = subprocess.run([sys.executable, "-c", VERIFIER, url], cwd=ROOT, capture_output=True, text=True, check=True)
    rows, grown_kib = map(int, done.stdout.split())
    assert rows == 2000
    assert grown_kib < 15_000, "the rows hold 40 MB"


APPENDER = """
import sys
from app.records.audit import Actor, AuditTrail, Event
from app.problems import RecordsUnavailable
from app.records.database import open_database
who, url, times = sys.argv[1:]
trail = AuditTrail(open_database(url))
trail.head()
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(times)):
    while True:  # SQLite keeps no queue: somebody may wait in vain until the timeout
        try:
            trail.record(Actor(who), Event("test", str(number)))
            break
        except RecordsUnavailable as problem:
            print(problem)
"""


def test_two_processes_append_one_chain(
    database: Engine, trail: AuditTrail, capsys: pytest.CaptureFixture[str]
) -> None:
    times = 1000
    url = database.url.render_as_string(hide_password=False)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, who, url, str(times)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    start = time.monotonic()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    refused = [writer.communicate(timeout=240)[0].splitlines() for writer in writers]
    seconds = time.monotonic() - start
    found = trail.verify()
    assert [writer.returncode for writer in writers] == [0, 0]
    most = seconds / BUSY_TIMEOUT_S if database.dialect.name == "sqlite" else 0
    assert all(len(lines) <= most for lines in refused), refused
    assert (found.rows, found.broken) == (2 * times, None)
    entries = rows(trail)
    for who in "ab":
        assert [int(entry.subject) for entry in entries if entry.who == who] == list(range(times))
    runs = len(list(groupby(entry.who for entry in entries)))
    with capsys.disabled():
        print(f"\n[{database.dialect.name}: {2 * times} appends by two processes in {seconds:.1f} s, {runs} runs]")


def test_settings_are_recorded_when_they_change(trail: AuditTrail, tmp_path: Path) -> None:
    first = record_settings(trail, Settings(home=tmp_path, queue=5))
    assert first is not None
    assert (first.who, first.action, first.before) == ("rosette", "settings.start", None)
    recorded = json.loads(first.after or "")
    assert (recorded["queue"], recorded["home"], recorded["admin_key"]) == (5, str(tmp_path), None)
    assert set(recorded) == {"version", *Settings.model_fields}
    trail.record(SERVER, Event("test", "between"))
    assert record_settings(trail, Settings(home=tmp_path, queue=5)) is None
    changed = record_settings(trail, Settings(home=tmp_path, queue=6))
    assert changed is not None
    assert json.loads(changed.before or "") == recorded
    assert json.loads(changed.after or "") == recorded | {"queue": 6}
    assert record_settings(trail, Settings(home=tmp_path, queue=5)) is not None
    assert trail.head() == TrailHead(4, rows(trail)[3].hash)


def test_recorded_settings_hold_no_secret() -> None:
    settings = Settings(
        admin_key="hunter2-" * 8,
        database_url="postgres://anna:hunter2@db.example:5433/records?sslpassword=hunter2&password=hunter2&sslmode=require",
    )
    recorded = in_force(settings)
    assert "hunter2" not in json.dumps(recorded)
    assert recorded["database_url"] == "postgresql+psycopg://anna:***@db.example:5433/records?sslmode=require"
    assert recorded["admin_key"] == "**********"


class Heard(logging.Handler):
    """Queues what a logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.put_nowait((record.levelname, record.getMessage()))


def test_the_head_is_logged_again_and_again_even_if_the_database_failed(
    empty_sqlite: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    trail = AuditTrail(empty_sqlite)

    async def listen() -> None:
        heard = Heard()
        logging.getLogger("rosette.audit").addHandler(heard)
        task = asyncio.create_task(log_head(trail, every_s=0.01))
        try:
            async with asyncio.timeout(120):
                level, message = await heard.said.get()
                assert level == "WARNING"
                assert message.startswith("The audit trail's head cannot be read: The database failed")
                migrate(empty_sqlite)
                for subject in ("1", "2"):
                    head = TrailHead(int(subject), trail.record(SERVER, Event("test", subject)).hash)
                    while await heard.said.get() != ("INFO", f"The audit trail's head is {head}"):
                        pass
        finally:
            logging.getLogger("rosette.audit").removeHandler(heard)
            task.cancel()
            await asyncio.wait([task])

    with caplog.at_level(logging.INFO, "rosette.audit"):
        asyncio.run(listen())


def test_a_server_shows_the_head_in_its_log_and_stops_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"ROSETTE_HOME": str(tmp_path), "ROSETTE_PORT": "0", "ROSETTE_MODEL": str(tmp_path)}
    program = "from model_zoo.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as served:
        assert served.stderr is not None
        line = next(line for line in served.stderr if "audit" in line)
        served.send_signal(signal.SIGTERM)
        rest = served.stderr.read()
    assert re.fullmatch(r"\S+ INFO rosette\.audit: The audit trail's head is [0-9]+:[0-9a-f]{64}\n", line)
    assert "Finished server process" in rest
    head = subprocess.run(
        [sys.executable, "-c", program, "audit", "head"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert head.stdout.strip() == line.split()[-1]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of these tests' own, whose trail holds six rows or more."""
    home = tmp_path_factory.mktemp("home")
    with RunningServer(home, home / "no model") as running:
        for number in range(5):
            running.services.audit.record(Actor("Zoë", "10.0.0.7"), Event("test", str(number), NESTED, {"n": number}))
        yield running


def test_http_lists_the_trail_for_admins_alone(audited: RunningServer) -> None:
    for path in ("", "/head", "/verify"):
        for role in (Role.PREDICT, Role.READ):
            with audited.new_client(role) as client:
                assert_problem(client.get(f"/admin/audit{path}"), 403, "forbidden")
        with audited.client_of("rsk_nobody") as client:
            assert_problem(client.get(f"/admin/audit{path}"), 401, "unauthorized")
        assert audited.client.get(f"/admin/audit{path}").status_code == 200


def test_http_pages_join_to_the_trail_word_for_word(audited: RunningServer) -> None:
    entries, cursor = [], None
    while True:
        page = audited.client.get("/admin/audit", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        entries += page["entries"]
        cursor = page["next"]
        if cursor is None:
            break
    assert entries == [vars(entry) for entry in audited.services.audit.page(10_000).entries]
    assert len(entries) > 4


def test_a_hash_can_be_found_anew_from_what_http_says(audited: RunningServer) -> None:
    for entry in audited.client.get("/admin/audit").json()["entries"]:
        hashed = entry.pop("hash")
        array = json.dumps(list(entry.values()), ensure_ascii=False, separators=(",", ":"))
        assert sha256(array.encode()).hexdigest() == hashed


def test_the_start_of_a_server_is_in_its_trail_once(tmp_path: Path) -> None:
    starts = []
    for queue in (5, 5, 6):
        with RunningServer(tmp_path, tmp_path / "no model", queue=queue, admin_key="k" * 32) as running:
            entries = running.client.get("/admin/audit").json()["entries"]
            starts.append([entry["number"] for entry in entries if entry["action"] == ACTION])
    assert starts[0] == starts[1] == [1]
    assert len(starts[2]) == 2


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=201",
        "?cursor=0",
        f"?cursor={2**63}",
        "?cursor=x",
        "?before=3",
        "/head?x=1",
        "/verify?head=",
        "/verify?head=1:0",
    ],
)
def test_bad_queries_are_refused(audited: RunningServer, query: str) -> None:
    assert_problem(audited.client.get(f"/admin/audit{query}"), 422, "invalid-parameter")


def test_http_and_the_command_say_whether_the_trail_is_whole(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, arguments, env={"ROSETTE_HOME": str(tmp_path)})
        return done.exit_code, done.output

    with RunningServer(tmp_path, tmp_path / "no model") as running:

        def ask(head: str = "") -> dict[str, Any]:
            response = running.client.get("/admin/audit/verify", params={"head": head} if head else {})
            assert response.status_code == 200
            answer: dict[str, Any] = response.json()
            return answer

        for number in range(3):
            running.services.audit.record(SERVER, Event("test", str(number)))
        head = running.client.get("/admin/audit/head").json()["head"]
        count = int(head.partition(":")[0])
        assert run("head") == (0, f"{head}\n")
        assert ask() == ask(head) == {"whole": True, "rows": count, "head": head, "broken": None}
        whole = f"The audit trail is complete. Rows: {count}.\n"
        broken = "The audit trail is broken: {}. Valid rows before it: {}.\n"
        hint = "Removed last rows cannot be detected without --head: pass one from the log, or one that you kept.\n"
        assert run("verify") == (0, whole + hint)
        assert run("verify", "--head", head) == (0, whole)

        tamper(running.services.database, f"DELETE FROM audit WHERE number = {count}")
        cut = f"row {count} of the given head is missing: the rows after row {count - 1} were removed"
        assert ask()["whole"] is True
        assert run("verify")[0] == 0
        answer = ask(head)
        assert (answer["whole"], answer["rows"], answer["broken"]) == (False, count - 1, cut)
        assert run("verify", "--head", head) == (1, broken.format(cut, count - 1))

        with running.services.database.begin() as connection:
            connection.execute(text("UPDATE audit SET after = '{}' WHERE number = 1"))
        changed = CHANGED.format(1)
        assert ask() == {"whole": False, "rows": 0, "head": None, "broken": changed}
        assert run("verify") == (1, broken.format(changed, 0))


def test_the_command_lists_rows_newest_first_and_steers_no_terminal(tmp_path: Path) -> None:
    environment = {"ROSETTE_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"}
    missing = CliRunner().invoke(command, ["list"], env=environment)
    assert missing.exit_code == 1
    assert f"sqlite:///{tmp_path / 'x.db'} has no audit trail: set ROSETTE_HOME" in missing.stderr

    engine = open_database(environment["ROSETTE_DATABASE_URL"])
    migrate(engine)
    empty = CliRunner().invoke(command, ["head"], env=environment)
    assert (empty.exit_code, empty.stderr) == (1, "rosette: the audit trail is empty\n")
    trail = AuditTrail(engine)
    first = trail.record(SERVER, Event("a", "1"))
    second = trail.record(Actor("\x1b[2J", "::1"), Event("b", "2", None, NESTED))
    engine.dispose()
    listed = CliRunner().invoke(command, ["list"], env=environment)
    assert listed.exit_code == 0
    lines = listed.output.splitlines()
    assert lines[0] == f"2  {second.at}  \N{REPLACEMENT CHARACTER}[2J at ::1  b 2"
    assert lines[1].startswith('    after  {"name": "Müller – 病理')
    assert lines[2:] == [f"1  {first.at}  rosette  a 1"]
    assert CliRunner().invoke(command, ["list", "--limit", "1"], env=environment).output.splitlines() == lines[:2]
    refused = CliRunner().invoke(command, ["verify", "--head", "2"], env=environment)
    assert refused.exit_code == 1
    assert "'2' is not a head of an audit trail" in refused.stderr
