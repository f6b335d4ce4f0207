"""Slides of up to 40,000 px a side: memory stays flat, and the time grows with the tissue."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import imagecodecs
import numpy as np
import pytest
import tifffile

from slides.cells import State, read_run
from slides.reader import Pixels, Reader, Rectangle
from tests.installed import PROGRAM
from tests.processes import family
from tests.scale import scaled

MOST_KB = 600 * 1024
SIDE = int(os.environ.get("ROSETTE_TEST_SIDE") or scaled(4_000, 40_000))
TILE = 256
LOOK_S = 0.2


@pytest.fixture(scope="module")
def real(shared: Path) -> Pixels:
    """Real tissue, a whole number of tiles."""
    with Reader(shared / "slides" / "CMU-1-Small-Region.svs") as reader:
        pixels, _ = reader.read(0, Rectangle(0, 0, 8 * TILE, 11 * TILE))
    return np.ascontiguousarray(pixels[..., 2::-1])


def large(path: Path, side: int, real: Pixels) -> Path:
    """An Aperio slide of this side in BigTIFF: the real tiles, again and again."""
    rows, columns = (length // TILE for length in real.shape[:2])
    tiles = [
        [
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(real[TILE * y : TILE * (y + 1), TILE * x : TILE * (x + 1)]),
                level=85,
                colorspace="RGB",
                outcolorspace="RGB",
            )
            for x in range(columns)
        ]
        for y in range(rows)
    ]
    count = -(-side // TILE)

    def repeated() -> Iterator[bytes]:
        for index in range(count * count):
            yield tiles[index // count % rows][index % count % columns]

    tifffile.imwrite(
        path,
        repeated(),
        shape=(side, side, 3),
        dtype=np.uint8,
        bigtiff=True,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
        metadata=None,
        description=f"Aperio Image Library v11.2.1\n{side}x{side} ({TILE}x{TILE}) JPEG/RGB Q=85|MPP = 0.4990",
    )
    return path


def scored(path: Path, out: Path) -> tuple[int, float, int]:
    """Cells that were scored, CPU seconds of all processes, and the most KB that one of them held."""
    command = [PROGRAM, "slide", "score", path, "--out", out, "--rotations", "none", "--shifts", "none"]
    process = subprocess.Popen([*map(str, command), "--processes", "2"], stderr=subprocess.DEVNULL)
    ended, peaks = Event(), [0]
    watcher = Thread(target=_watch, args=(process.pid, ended, peaks))
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    ended.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    _, cells = read_run(next(out.iterdir()))
    return int(cells.where(State.SCORED).sum()), usage.ru_utime + usage.ru_stime, max(peaks)


def _watch(pid: int, ended: Event, peaks: list[int]) -> None:
    while not ended.wait(LOOK_S):
        try:
            for each in family(pid):
                text = Path(f"/proc/{each}/status").read_text()
                peaks.append(int(text.partition("VmHWM:")[2].split()[0]))
        except (OSError, IndexError):
            continue


@pytest.mark.soak
@pytest.mark.nightly
def test_memory_is_flat_and_time_linear_in_tissue(real: Pixels, tmp_path: Path) -> None:
    found = []
    for index in range(4):
        side = SIDE * (index + 1) // 4
        slide = large(tmp_path / f"{side}.svs", side, real)
        found.append(scored(slide, tmp_path / f"out-{side}"))
        slide.unlink()
        print(f"{side} px: {found[-1][0]} cells scored, {found[-1][1]:.1f} CPU s, {found[-1][2] // 1024} MB at most")
    assert max(peak for _, _, peak in found) < MOST_KB
    cells, seconds = (np.array([each[index] for each in found], float) for index in (0, 1))
    marginal = np.diff(seconds) / np.diff(cells)
    assert marginal.max() < 1.5 * marginal.min(), marginal
