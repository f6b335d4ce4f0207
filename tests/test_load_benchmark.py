"""docs/performance.md matches its JSON file, and wrk's latencies are the measured ones."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.hidden import hide_avx512
from benchmarks.load.report import page
from benchmarks.load.targets import targets
from benchmarks.load.wrk import measured, percentile
from tests.conftest import ROOT

PARTS = ("closed", "connections", "open", "overload", "shipped")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "results" / "load.json").read_text(encoding="utf-8"))
    return found


def test_the_page_is_what_the_command_writes(results: dict[str, Any]) -> None:
    assert page(results) == (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_a_run_of_one_part_gives_a_page_of_that_part(results: dict[str, Any]) -> None:
    parts = [part for part in PARTS if part in results]
    assert len(parts) > 1
    for part in parts:
        whole, alone = page(results), page({"about": results["about"], part: results[part]})
        headings = {line for line in alone.splitlines() if line.startswith("#")}
        assert headings < {line for line in whole.splitlines() if line.startswith("#")}
        assert len(headings) > 2, "a title, the part and what was measured"


def test_targets_compare_within_a_round_and_number_of_connections(results: dict[str, Any]) -> None:
    rows = [row for row in results["closed"] if row["contender"] == "Rosette, none" and row["model"] == "fast"]
    before = [row | {"contender": "Rosette before, none", "patches_s": row["patches_s"] / 2} for row in rows]
    many = [row | {"connections": 32} for row in rows + before]
    alone = [row | {"connections": 1, "p50_ms": 3.5} for row in rows]
    decoding = [row | {"contender": "onnxruntime and decoding", "p50_ms": 1.5} for row in alone]
    lines = targets({"closed": results["closed"] + before, "connections": many + alone + decoding})
    assert [line.split(" | ")[1:] for line in lines if "earlier" in line] == [
        ["≥ 1.70", "2.00 [2.00, 2.00]", "yes |"]
    ] * 2
    assert [line.split(" | ")[1:] for line in lines if "p50" in line] == [["≤ 1.5", "2.00 [2.00, 2.00]", "no |"]]


def test_a_library_that_cannot_be_loaded_hides_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\nfor each; do [ "$before" = -o ] && echo nothing >"$each"; before=$each; done\nexit 0\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_PRELOAD", "")
    with pytest.raises(RuntimeError, match=r"AVX-512 cannot be hidden: .*hide_avx512\.so"):
        hide_avx512(tmp_path)
    assert os.environ["LD_PRELOAD"] == ""


def corrected(latencies: list[int], interval: int) -> Counter[int]:
    """What wrk 4.1 makes of latencies: ``stats_correct`` in its ``stats.c``."""
    counts = Counter(latencies)
    for value in range(2 * interval + 1, max(counts) + 1):
        added = value - interval
        while counts[value] and added > interval:
            counts[added] += counts[value]
            added -= interval
    return counts


@given(st.lists(st.integers(1, 400), min_size=1), st.integers(1, 100))
def test_what_wrk_adds_to_latencies_is_taken_away(latencies: list[int], interval: int) -> None:
    told = sorted((value, count) for value, count in corrected(latencies, interval).items() if count)
    assert measured(told, len(latencies), interval) == sorted(Counter(latencies).items())


def test_latencies_without_additions_stay_as_they_are() -> None:
    assert measured([(1, 5), (90, 2)], 7, 1) == [(1, 5), (90, 2)]


def test_a_percentile_is_the_least_value_that_the_share_does_not_exceed() -> None:
    histogram = [(1, 98), (5, 1), (7, 1)]
    assert [percentile(histogram, share) for share in (0.5, 0.98, 0.99, 1.0)] == [1, 1, 5, 7]
    assert percentile([], 0.5) is None
