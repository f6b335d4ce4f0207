"""``rosette slide`` in a Python that lacks the extra ``slides``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LACKING = (
    "import sys; sys.modules['openslide'] = sys.modules['tifffile'] = None; from model_zoo.cli import main; "
    "sys.argv[0] = 'rosette'; main()"
)


def rosette(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LACKING, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "words"), [((), {"score", "cut", "verify", "regions"}), (("score",), {"SLIDE..."})]
)
def test_help_works(command: tuple[str, ...], words: set[str]) -> None:
    done = rosette("slide", *command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert words <= set(done.stdout.split())


def test_a_command_that_reads_a_slide_says_what_to_install(tmp_path: Path) -> None:
    done = rosette("slide", "score", tmp_path / "slide.svs", "--out", tmp_path / "runs")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rosette: slides are read with the packages of the extra slides: run pip install '.[slides]' in Rosette's "
        "folder (for a wheel: pip install 'FILE.whl[slides]')\n"
    )
    assert list(tmp_path.iterdir()) == []
