"""Runs as `rosette slide score` leaves them, made from a drawing: one character for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import log
from pathlib import Path

import numpy as np

from slides.cells import CELLS_FILE, Cells, State, write_cells
from slides.runfile import Grid, Model, Raster, Run, Slide, write_runfile

SIDE = 64

# What a character stands for: a digit is a probability of that many tenths, # is 0.99.
_STATES = {".": State.GLASS, "x": State.NOT_ASSESSABLE, "o": State.HOLE}


def cells_of(drawing: Sequence[str], side: int = SIDE) -> Cells:
    """Cells of ``side`` level-0 pixels, from a drawing such as ``["..9", "x5o"]``."""
    rows, columns = len(drawing), len(drawing[0])
    cells = Cells.glass(np.arange(columns + 1) * side, np.arange(rows + 1) * side)
    for row, line in enumerate(drawing):
        for column, character in enumerate(line):
            at = row, column
            cells.put(at, _STATES.get(character, State.SCORED))
            if character == "x":
                cells.reason[at] = "sharpness"
            elif character == "o":
                cells.reason[at] = "unreadable"
            elif character != ".":
                score(cells, at, 0.99 if character == "#" else int(character) / 10 or 0.01)
    return cells


def score(cells: Cells, at: tuple[int, int], probability: float) -> None:
    """Make a cell one that was scored."""
    cells.put(at, State.SCORED)
    cells.probability[at] = probability
    cells.logits[at] = (0.0, log(probability) - log(1 - probability))
    cells.tissue[at], cells.sharpness[at] = 0.9, 1500.0
    cells.density[at] = (0.2, 0.33, 0.18)


def run_of(cells: Cells, **slide: object) -> Run:
    """A complete run on these cells."""
    rows, columns = cells.shape
    width, height = int(cells.x[-1]), int(cells.y[-1])
    given = {
        "name": "synthetic.svs",
        "sha256": "0" * 64,
        "vendor": "aperio",
        "width": width,
        "height": height,
        "microns_per_pixel": 0.485,
        "scale_source": "file",
    }
    return Run(
        slide=Slide.model_validate(given | slide),
        raster=Raster(level=0, factor=2.0, filter="area", microns_per_pixel=0.97),
        grid=Grid(columns=columns, rows=rows),
        model=Model(
            name="accurate",
            version="0.4.0",
            sha256="1" * 64,
            graph_sha256="2" * 64,
            microns_per_pixel=0.97,
            threshold=0.5,
            temperature=1.0,
            calibration_prevalence=0.5,
            review_band=(0.3, 0.7),
            consistency_limit=0.2,
        ),
        rotations="none",
        shifts="none",
        state="complete",
        started_at=datetime(2026, 11, 29, 10, tzinfo=UTC),
        finished_at=datetime(2026, 11, 29, 11, tzinfo=UTC),
    )


def run_folder(folder: Path, drawing: Sequence[str], **slide: object) -> Path:
    """A run folder with ``run.json`` and ``cells.csv`` of a drawing."""
    cells = cells_of(drawing)
    folder.mkdir(parents=True, exist_ok=True)
    write_cells(folder / CELLS_FILE, cells)
    write_runfile(folder, run_of(cells, **slide))
    return folder
