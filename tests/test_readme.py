"""The README's figures are the shipped artifacts' own."""

from __future__ import annotations

import runpy

from tests.conftest import ROOT


def test_the_results_are_what_the_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "readme_results.py"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script["SECTION"].findall(page) == [script["section"]()]
