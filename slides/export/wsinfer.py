"""CSV with the columns of WSInfer 0.6: a tile's place and size in level-0 pixels, and ``prob_`` with a class's name."""

from __future__ import annotations

import csv
import io

from slides.cells import Cells, State

COLUMNS = ("minx", "miny", "width", "height", "prob_no_metastasis", "prob_metastasis")


def wsinfer_csv(cells: Cells) -> bytes:
    """One row for each scored cell, row by row; probabilities are calibrated, at the model's own prevalence."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    x, y = cells.x.tolist(), cells.y.tolist()
    for row, column in zip(*(axis.tolist() for axis in cells.where(State.SCORED).nonzero()), strict=True):
        probability = float(cells.probability[row, column])
        size = x[column + 1] - x[column], y[row + 1] - y[row]
        writer.writerow((x[column], y[row], *size, repr(1 - probability), repr(probability)))
    return text.getvalue().encode("ascii")
