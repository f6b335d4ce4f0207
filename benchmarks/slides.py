"""What scoring a slide costs beyond onnxruntime itself, per assessable patch, on one thread.

    python -m benchmarks.slides SLIDE ARTIFACT...

All stages and the bare network run alternately in the same process, and the least CPU time of the rounds counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import thread_time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model_zoo.network import Network
from model_zoo.turns import SIDE, Patch
from slides.cells import STATES, State
from slides.grid import STRIDE, Chunk, chunks, pixels_of
from slides.opened import open_slide
from slides.quality import qualities
from slides.score import BATCH, Measures, Scorer, SlideRotations, SlideShifts
from slides.tissue import candidates

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    print("| artifact | patches | read | quality | all | onnxruntime | of it | beyond it |")
    print("|---|---|---|---|---|---|---|---|")
    for artifact in given.artifacts:
        print(row(given.slide, artifact, given.rounds), flush=True)


def row(slide: Path, artifact: Path, rounds: int) -> str:
    """A line of the table: milliseconds for each assessable patch."""
    network = Network(artifact.read_bytes())
    measures = Measures(SlideRotations.NONE, SlideShifts.NONE)
    with open_slide(slide, network.manifest, None) as opened:
        scorer = Scorer(opened.raster, network, measures)
        wanted = candidates(opened.reader, opened.plan)
        parts = list(chunks(opened.plan))
        areas = [wanted[c.row : c.row + c.rows, c.column : c.column + c.columns] for c in parts]
        patches = []
        for part, area in zip(parts, areas, strict=True):
            scored = scorer.score(part, area)["state"] == STATES.index(State.SCORED)
            block, _ = opened.raster.read(pixels_of(part))
            patches.append(sliding_window_view(block, (SIDE, SIDE, 3))[::STRIDE, ::STRIDE, 0][scored])
        every = np.concatenate(patches)
        least = dict.fromkeys(("read", "quality", "all", "onnxruntime"), np.inf)
        for _ in range(rounds):
            with open_slide(slide, network.manifest, None) as cold:
                scorer = Scorer(cold.raster, network, measures)
                least["all"] = min(least["all"], seconds(scorer, parts, areas))
            least["onnxruntime"] = min(least["onnxruntime"], bare(network, every))
            with open_slide(slide, network.manifest, None) as cold:
                start = thread_time()
                blocks = [cold.raster.read(pixels_of(part))[0] for part in parts]
                least["read"] = min(least["read"], thread_time() - start)
            start = thread_time()
            for part, block in zip(parts, blocks, strict=True):
                qualities(block, part.rows, part.columns, network.manifest.quality)
            least["quality"] = min(least["quality"], thread_time() - start)
    cost = {name: 1e3 * value / len(every) for name, value in least.items()}
    figures = [f"{cost[name]:.2f}" for name in ("read", "quality", "all", "onnxruntime")]
    figures += [f"{cost['onnxruntime'] / cost['all']:.2f}", f"{cost['all'] - cost['onnxruntime']:.2f}"]
    return f"| {artifact.name} | {len(every)} | " + " | ".join(figures) + " |"


def seconds(scorer: Scorer, parts: Sequence[Chunk], areas: Sequence[NDArray[np.bool_]]) -> float:
    start = thread_time()
    for part, area in zip(parts, areas, strict=True):
        scorer.score(part, area)
    return thread_time() - start


def bare(network: Network, patches: Patch) -> float:
    start = thread_time()
    for first in range(0, len(patches), BATCH):
        network.logits(patches[first : first + BATCH])
    return thread_time() - start


if __name__ == "__main__":
    main()
