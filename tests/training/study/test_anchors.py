"""Anchors: figures of each network on both bases, and the paired difference to the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.study.anchors import run, section


@pytest.fixture(scope="module")
def document(artifact_path: Path, data: Path) -> Any:
    return run([artifact_path], data, read_test=False)


def test_an_artifact_has_a_row_for_each_basis(document: Any, artifact_path: Path) -> None:
    assert [row["name"] for row in document["rows"]] == [artifact_path.stem, f"{artifact_path.stem}, orbit"]
    assert document["n"] == {"valid": 48}
    single, orbit = (row["valid"]["accuracy"]["value"] for row in document["rows"])
    assert document["rows"][1]["to_first"]["valid"]["accuracy"]["value"] == pytest.approx(orbit - single)


def test_the_section_shows_every_row(document: Any) -> None:
    text = "\n".join(section(document))
    assert "Measured on **valid** (n = 48)" in text
    assert text.count("orbit |") == 1
