"""The bits of the golden cases on other CPUs, emulated by qemu."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.installed import uncounted

REPLAY = """
import sys
from pathlib import Path
from model_zoo.network import Network, golden_answers
print(*(answer.exact for answer in golden_answers(Network(Path(sys.argv[1]).read_bytes()))))
"""


@pytest.mark.parametrize("cpu", ["Nehalem", "Haswell"])
def test_golden_cases_have_the_same_bits(cpu: str, artifact_path: Path) -> None:
    """SSE4.2 and AVX2, neither with VNNI."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: install the package qemu-user")
    command = [emulator, "-cpu", cpu, sys.executable, "-c", REPLAY, str(artifact_path)]
    done = subprocess.run(command, cwd=ROOT, env=uncounted(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 8
