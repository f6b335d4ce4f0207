"""Tables and intervals in Markdown."""

from __future__ import annotations

from training.study.markdown import cell, table


def test_bars_in_cells_do_not_end_them() -> None:
    assert table(["graph", "n"], [["|w| ≤ 64", "8"]]) == ["| graph | n |", "|---|---|", r"| \|w\| ≤ 64 | 8 |"]


def test_a_figure_stands_with_its_interval() -> None:
    interval = {"value": 0.0123, "low": -0.004, "high": 0.03}
    assert cell(interval) == "0.012 [-0.004, 0.030]"
    assert cell(interval, "+.1f", 100) == "+1.2 [-0.4, +3.0]"
