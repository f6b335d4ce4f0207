"""The options that commands of ``rosette study`` share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.study.commands import study

SHARED = {"--data", "--runs", "--out", "--jobs", "--threads", "--help"}
TIERED = {"--tier", "--train", "--no-train"}
COMMANDS = {
    "grid": SHARED | TIERED | {"--test", "--no-test"},
    "efficiency": SHARED | TIERED | {"--test", "--no-test"},
    "pareto": SHARED | TIERED,
    "table1": SHARED | {"--epochs", "--seeds"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_its_options_with_their_texts(command: str) -> None:
    shown = CliRunner().invoke(study, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    texts = re.findall(r"^\W*(--[a-z0-9-]+)\s+(?:(--no-[a-z0-9-]+)|\S*)\s(.*?)\W*$", shown, re.MULTILINE)
    assert {name for each in texts for name in each[:2] if name} == COMMANDS[command]
    assert all(text.strip() for *_, text in texts)


@pytest.mark.parametrize("command", [name for name, options in COMMANDS.items() if "--tier" in options])
def test_an_unknown_tier_is_refused_before_anything_is_read(command: str, tmp_path: Path) -> None:
    words = [command, "--data", str(tmp_path / "missing"), "--tier", "tpu", "--no-train"]
    refused = CliRunner().invoke(study, words, env={"COLUMNS": "200", "TERM": "dumb"})
    assert refused.exit_code == 2
    assert "'tpu' is not one of cpu, gpu" in refused.output
