"""What the installed ``rosette`` lists: in a narrow terminal, in a pipe, as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from app.records.acceptances import Acceptances
from app.records.audit import AuditTrail
from app.records.tables import keys
from model_zoo.acceptance import AcceptanceReport
from tests.app.acceptance.test_acceptance import a_report
from tests.app.conftest import TESTER
from tests.installed import PROGRAM, rosette


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROSETTE_DATABASE_URL", raising=False)
    return tmp_path / "home"


def in_a_terminal(*arguments: str, columns: int) -> str:
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen([PROGRAM, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, said
    return re.sub(r"\x1b\[[\d;]*m", "", said.decode())  # bold titles


def cells(table: str) -> list[list[str]]:
    """The cells of each line of a table's body."""
    lines = [line for line in table.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_keys_are_listed_everywhere_with_ids_to_paste(home: Path) -> None:
    name = "the microscope of the laboratory on the second floor, by the window"
    key_id = rosette("keys", "add", "--role", "predict", "--name", name, "--expires-days", "30")[4:16]
    lines = rosette("keys", "list", COLUMNS="80").splitlines()
    assert lines[0].split("\t") == ["id", "role", "name", "made", "expires", "last used", "revoked"]
    assert lines[1].split("\t")[:3] == [key_id, "predict", name]
    [listed] = json.loads(rosette("keys", "list", "--json"))
    assert (listed["id"], listed["role"], listed["name"], listed["revoked_at"]) == (key_id, "predict", name, None)
    shown = in_a_terminal("keys", "list", columns=80)
    assert key_id in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    column = "".join(line.split("│")[3] for line in shown.splitlines() if line.startswith("│"))
    assert re.sub(r"\s", "", column) == name.replace(" ", "")


def test_times_and_ids_are_whole_in_a_narrow_terminal(home: Path) -> None:
    rosette("keys", "add", "--role", "pathologist", "--name", "the microscope of the laboratory", "--expires-days", "9")
    database = create_engine(f"sqlite:///{home / 'rosette.db'}")
    with database.begin() as connection:
        connection.execute(update(keys).values(last_used_at=keys.c.created_at, revoked_at=keys.c.created_at))
        connection.execute(update(keys).values(issuer="https://login.example.org/realms/hospital"))
    [key] = json.loads(rosette("keys", "list", "--json"))
    times = [key[name] for name in ("created_at", "expires_at", "last_used_at", "revoked_at")]
    assert cells(in_a_terminal("keys", "list", columns=80))[0][3:7] == [time[:10] for time in times]
    wide = [f"{time[:10]} {time[11:16]}" for time in times]
    assert cells(in_a_terminal("keys", "list", columns=240))[0][3:7] == wide
    assert rosette("keys", "list").splitlines()[1].split("\t")[3:7] == wide


def test_acceptance_tests_are_listed_and_shown(home: Path) -> None:
    assert "There are no acceptance tests" in rosette("acceptances", "list")
    database = create_engine(f"sqlite:///{home / 'rosette.db'}")
    tests = Acceptances(database, AuditTrail(database))
    first = tests.add(a_report(site="the ward on the second floor"), TESTER)
    second = tests.add(a_report(outcome="out_of_scope"), TESTER)
    listed = json.loads(rosette("acceptances", "list", "--json"))
    assert [each["id"] for each in listed] == [second.id, first.id]
    assert listed[1] == vars(first) | {"tested_at": first.tested_at.isoformat()}
    for rows in (
        cells(in_a_terminal("acceptances", "list", columns=80)),
        [line.split("\t") for line in rosette("acceptances", "list").splitlines()[1:]],
    ):
        heads = [row for row in rows if row[0]]
        assert [(row[0], row[4], row[6][:10]) for row in heads] == [
            (each.id[:13], "ab" * 6, f"{each.tested_at:%Y-%m-%d}") for each in (second, first)
        ]
    detail = json.loads(rosette("acceptances", "show", first.id, "--json"))
    assert AcceptanceReport.model_validate(detail.pop("report")) == a_report(site=first.site)
    assert detail == listed[1]
    shown = rosette("acceptances", "show", first.id.upper())
    assert first.id in shown
    assert "Site the ward on the second floor." in shown
    assert "AUC: 0.900 [0.850, 0.950], n = 200" in shown
    assert "2 acceptance tests have an id that begins with" in rosette("acceptances", "show", first.id[:1], code=1)
    assert "There is no acceptance test 'x'" in rosette("acceptances", "show", "x", code=1)


def test_other_listings_are_json_too(home: Path) -> None:
    rosette("keys", "add", "--name", "x")
    assert json.loads(rosette("models", "list", "--json")) == []
    assert json.loads(rosette("audit", "list", "--json"))[0]["action"] == "key.create"
    assert json.loads(rosette("drift", "--json"))["models"] == []


def test_the_version_and_completion() -> None:
    assert rosette("--version") == f"rosette {version('rosette-pathology')}\n"
    line = {"COMP_WORDS": "rosette keys ", "COMP_CWORD": "2", f"_{PROGRAM.name.upper()}_COMPLETE": "complete_bash"}
    assert rosette(code=0, **line).split() == ["add", "list", "rotate", "revoke", "enable"]
    names = rosette(code=0, **line | {"COMP_WORDS": "rosette ", "COMP_CWORD": "1"}).split()
    assert {"serve", "predict", "train"} <= set(names)
