"""The compiled loops over a slide's pixels give NumPy's bits without vector instructions, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DIGEST = """
import sys
from hashlib import sha256
from pathlib import Path
import numpy as np
if sys.argv[1] == "numpy":
    sys.modules["slides._kernels"] = None
else:
    sys.path.append("scripts")
    import hatch_build
    import slides
    assert hatch_build.compiled(Path.cwd(), "slides", Path(sys.argv[1]))
    slides.__path__.insert(0, str(Path(sys.argv[1]) / "slides"))
from slides import kernels, quality, raster
from slides.reader import Level, Rectangle
assert kernels.COMPILED == (sys.argv[1] != "numpy")
block = np.random.default_rng(3).integers(140, 256, (160, 224, 3), np.uint8)
made = np.empty((30, 70, 3), np.uint8)
how = raster.plan([Level(999, 999, 1.0)], Rectangle(0, 0, 999, 999), 0.301, 0.97)
across, down = raster.Taps.of(-7, 70, how), raster.Taps.of(11, 30, how)
pixels = np.random.default_rng(4).integers(0, 256, (down.length, across.length, 4), np.uint8)
average, sums = (
    (raster.compiled_averages, quality.compiled_sums)
    if kernels.COMPILED
    else (raster.numpy_averages, quality.numpy_sums)
)
average(pixels, across, down, made)
print(sha256(made.tobytes() + sums(block, 3, 5).tobytes()).hexdigest())
"""


def digest(loops: str, **environment: str) -> str:
    command = [sys.executable, "-c", DIGEST, loops]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler")
def test_all_loops_have_the_same_bits(tmp_path: Path) -> None:
    expected = digest("numpy")
    assert digest(str(tmp_path / "fast")) == expected
    assert digest(str(tmp_path / "portable"), CFLAGS="-U__SSE2__") == expected
