"""docs/results.md is generated from its JSON files."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import ROOT
from training.study.report import write


def test_the_page_is_what_the_command_writes(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for file in (ROOT / "docs" / "results").glob("*.json"):
        shutil.copy(file, results)
    write(results, tmp_path / "results.md")
    assert (tmp_path / "results.md").read_text() == (ROOT / "docs" / "results.md").read_text()
    plots = {file.name for file in (ROOT / "docs" / "results").glob("*.svg")}
    assert plots == {file.name for file in results.glob("*.svg")}
