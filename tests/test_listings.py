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

from tests.installed import PROGRAM, rosette


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROSETTE_DATABASE_URL", raising=False)
    return tmp_path / "home"


def in_a_terminal(*arguments: str, columns: int) -> str:
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "dumb"}
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
    return said.decode()


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


def test_other_listings_are_json_too(home: Path) -> None:
    rosette("keys", "add", "--name", "x")
    assert json.loads(rosette("models", "list", "--json")) == []
    assert json.loads(rosette("audit", "list", "--json"))[0]["action"] == "key.create"
    assert json.loads(rosette("drift", "--json"))["models"] == []


def test_the_version_and_completion() -> None:
    assert rosette("--version") == f"rosette {version('rosette-pathology')}\n"
    line = {"COMP_WORDS": "rosette keys ", "COMP_CWORD": "2", f"_{PROGRAM.name.upper()}_COMPLETE": "complete_bash"}
    assert rosette(code=0, **line).split() == ["add", "list", "rotate", "revoke"]
    names = rosette(code=0, **line | {"COMP_WORDS": "rosette ", "COMP_CWORD": "1"}).split()
    assert {"serve", "predict", "train"} <= set(names)
