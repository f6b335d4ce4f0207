"""Every command that the documentation names exists in the installed program."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from model_zoo.cli import application
from tests.conftest import ROOT
from tests.installed import rosette

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "model_zoo").glob("*.md"))]
SCRIPTS = [ROOT / "Makefile", *sorted((ROOT / "docker").glob("*.sh"))]
_WORD = r"[a-z][a-z0-9-]*(?![\w./*=-])"
_COMMAND = re.compile(rf"(?:^|[\s`(/])rosette ({_WORD}(?: {_WORD})?)([^`\n]*)")


def _code(text: str) -> str:
    """A page's code blocks and code spans, a line each, without comments and without other programs' lines."""
    blocks = "".join(re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = blocks.splitlines() + re.findall(r"`([^`\n]+)`", text)
    return "\n".join(line.partition(" #")[0] for line in lines if not line.startswith("kubectl"))


def named() -> dict[str, set[str]]:
    """The commands that are named, such as ``keys add``, each with the options that are named with it."""
    found: dict[str, set[str]] = {}
    texts = [_code(page.read_text(encoding="utf-8")) for page in PAGES]
    texts += [script.read_text(encoding="utf-8") for script in SCRIPTS]
    for text in texts:
        for command, rest in _COMMAND.findall(text.replace("\\\n", " ")):
            found.setdefault(command, set()).update(re.findall(r"--[a-z][a-z-]*", rest))
    return found


NAMED = named()
GROUPS = {"models": "list upload activate rollback retire shadow keygen sign verify show", "keys": "add list revoke"}


def test_the_search_finds_commands() -> None:
    assert {"serve", "predict", "models upload", "models rollback", "keys add", "audit verify", "study grid"} <= set(
        NAMED
    )


def help_of(command: str) -> str:
    """What ``rosette COMMAND --help`` prints, by the entry points that the installed program loads."""
    words = [*command.split(), "--help"]
    done = CliRunner().invoke(application(words), words, prog_name="rosette", env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_installed_program_says_the_same() -> None:
    assert rosette("keys", "add", "--help") == help_of("keys add")


@pytest.mark.parametrize("command", sorted(NAMED))
def test_a_documented_command_is_there_with_its_options(command: str) -> None:
    words = re.findall(r"--[a-z][a-z-]*", help_of(command))
    assert set(words) >= NAMED[command]


@pytest.mark.parametrize("command", [f"{group} {name}" for group, names in GROUPS.items() for name in names.split()])
def test_a_command_of_the_server_is_there(command: str) -> None:
    assert f"rosette {command} [OPTIONS]" in help_of(command)


def test_an_unknown_subcommand_ends_with_2() -> None:
    assert "No such command" in rosette("models", "explode", "--help", code=2)


def test_the_installed_commands_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {entry.name: entry.value for entry in entry_points(group="rosette.commands")}
    assert installed == project["entry-points"]["rosette.commands"], "install the project again"
