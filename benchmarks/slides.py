"""What scoring a slide costs beyond onnxruntime itself, per assessable patch, on one thread.

    python -m benchmarks.slides SLIDE ARTIFACT...
    python -m benchmarks.slides SLIDE ARTIFACT... --commands 5

A dense artifact is measured twice: in passes over regions, and patchwise. All stages of all artifacts and the bare
networks run alternately in the same process, and the least CPU time of the rounds counts. With ``--commands``, a second
table has the CPU time of the whole command with all its processes, and of its start: the same without tissue.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time

import numpy as np
import tifffile
from numpy.lib.stride_tricks import sliding_window_view

from model_zoo.network import BATCH, Network
from model_zoo.turns import SIDE, Patch
from slides.cells import STATES, State
from slides.grid import STRIDE, Chunk, chunks, pixels_of
from slides.opened import Model, open_slide
from slides.quality import qualities
from slides.raster import Raster
from slides.reader import Pixels
from slides.score import Measures, Scorer, SlideRotations, SlideShifts
from slides.tissue import candidates

ROUNDS = 5
STAGES = ("read", "quality", "inference", "all", "onnxruntime")
MEASURES = Measures(SlideRotations.NONE, SlideShifts.NONE)


class Patchwise(Model):
    """Answers each window as a patch, whatever the artifact."""

    @property
    def dense_pass(self) -> None:
        return None


class Case:
    """An artifact on a slide: what is measured, and the least time of each stage.

    Args:
        slide: the slide's file.
        name: of the row.
        model: answers.
    """

    def __init__(self, slide: Path, name: str, model: Model) -> None:
        self.slide, self.name, self.model = slide, name, model
        self.least = dict.fromkeys(STAGES, np.inf)
        with open_slide(slide, model.manifest, None) as opened:
            scorer = Scorer(opened.raster, model, MEASURES)
            wanted = candidates(opened.reader, opened.plan)
            self.parts: list[Chunk] = list(chunks(opened.plan))
            self.areas = [wanted[c.row : c.row + c.rows, c.column : c.column + c.columns] for c in self.parts]
            self.corners, patches = [], []
            for part, area in zip(self.parts, self.areas, strict=True):
                scored = scorer.score(part, area)["state"] == STATES.index(State.SCORED)
                block, _ = opened.raster.read(pixels_of(part))
                patches.append(sliding_window_view(block, (SIDE, SIDE, 3))[::STRIDE, ::STRIDE, 0][scored])
                self.corners.append(STRIDE * np.argwhere(scored))
        self.patches: Patch = np.concatenate(patches)

    def measure(self) -> None:
        """One round."""
        with open_slide(self.slide, self.model.manifest, None) as cold:
            self._time("all", lambda: self._score(cold.raster))
        with open_slide(self.slide, self.model.manifest, None) as cold:
            blocks = self._time("read", lambda: [cold.raster.read(pixels_of(part))[0] for part in self.parts])
        self._time("quality", lambda: self._judge(blocks))
        self._time("inference", lambda: self._answer(blocks))
        self._time("onnxruntime", self._bare)

    def row(self) -> str:
        """A line of the table: milliseconds for each assessable patch."""
        cost = {name: 1e3 * value / len(self.patches) for name, value in self.least.items()}
        figures = [f"{cost[name]:.2f}" for name in STAGES]
        figures += [f"{cost['onnxruntime'] / cost['all']:.2f}", f"{cost['all'] - cost['onnxruntime']:.2f}"]
        return f"| {self.name} | {len(self.patches)} | " + " | ".join(figures) + " |"

    def _time(self, stage: str, work: Callable[[], list[Pixels]]) -> list[Pixels]:
        start = thread_time()
        found = work()
        self.least[stage] = min(self.least[stage], thread_time() - start)
        return found

    def _score(self, raster: Raster) -> list[Pixels]:
        scorer = Scorer(raster, self.model, MEASURES)
        for part, area in zip(self.parts, self.areas, strict=True):
            scorer.score(part, area)
        return []

    def _judge(self, blocks: list[Pixels]) -> list[Pixels]:
        for part, block in zip(self.parts, blocks, strict=True):
            qualities(block, part.rows, part.columns, self.model.manifest.quality)
        return []

    def _answer(self, blocks: list[Pixels]) -> list[Pixels]:
        for block, corners in zip(blocks, self.corners, strict=True):
            if len(corners):
                self.model.logits(block, corners)
        return []

    def _bare(self) -> list[Pixels]:
        for first in range(0, len(self.patches), BATCH):
            self.model.network.logits(self.patches[first : first + BATCH])
        return []


class Command:
    """``rosette slide score`` with an artifact, on a slide and on one without tissue; CPU seconds of each run."""

    def __init__(self, artifact: Path, slide: Path, empty: Path) -> None:
        self.artifact, self.slides = artifact, (slide, empty)
        self.seconds: tuple[list[float], list[float]] = ([], [])

    def measure(self) -> None:
        for slide, seconds in zip(self.slides, self.seconds, strict=True):
            with TemporaryDirectory() as out:
                command = [str(Path(sys.executable).with_name("rosette")), "slide", "score", str(slide), "--out", out]
                options = ["--model", str(self.artifact), "--rotations", "none", "--shifts", "none", "--processes", "1"]
                process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode:
                    raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
                seconds.append(usage.ru_utime + usage.ru_stime)

    def row(self) -> str:
        whole, start = self.seconds
        figures = [f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in (whole, start)]
        return f"| {self.artifact.name} | {len(whole)} | {' | '.join(figures)} | {median(whole) - median(start):.2f} |"


def without_tissue(path: Path) -> Path:
    """A slide of a few cells of glass."""
    glass = np.full((512, 512, 3), 244, np.uint8)
    resolution = (1e4 / 0.499, 1e4 / 0.499)
    tifffile.imwrite(
        path, glass, tile=(256, 256), photometric="rgb", resolution=resolution, resolutionunit="CENTIMETER"
    )
    return path


def measure_commands(slide: Path, artifacts: list[Path], runs: int) -> None:
    with TemporaryDirectory() as folder:
        empty = without_tissue(Path(folder) / "empty.tiff")
        commands = [Command(artifact, slide, empty) for artifact in artifacts]
        for _ in range(runs):
            for command in commands:
                command.measure()
    print("\n| command with | runs | CPU s, median (range) | start: without tissue | difference |")
    print("|---|---|---|---|---|")
    for command in commands:
        print(command.row())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--commands", type=int, default=0, help="runs of the whole command")
    given = parser.parse_args()
    cases = []
    for artifact in given.artifacts:
        data = artifact.read_bytes()
        network = Network(data)
        cases.append(Case(given.slide, artifact.name, Model(data, network)))
        if network.manifest.dense:
            cases.append(Case(given.slide, f"{artifact.name}, patchwise", Patchwise(data, network)))
    for _ in range(given.rounds):
        for case in cases:
            case.measure()
    print("| artifact | patches | read | quality | inference | all | onnxruntime | of it | beyond it |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in cases:
        print(case.row())
    if given.commands:
        measure_commands(given.slide, given.artifacts, given.commands)


if __name__ == "__main__":
    main()
