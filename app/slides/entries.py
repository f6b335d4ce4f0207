"""What routes and pages get to know about slides and runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.records.slide_runs import RunState as RunState
from app.records.slide_runs import SlideRun as SlideRun

SlideState = Literal["ready", "refused", "waiting"]
Measured = Literal["none", "auto", "full", "report"]
Product = Literal["cells.csv", "regions.geojson", "heatmap.png", "report.html", "probability.dcm", "regions.dcm"]

MEDIA_TYPES: dict[Product, str] = {
    "cells.csv": "text/csv; charset=utf-8",
    "regions.geojson": "application/geo+json",
    "heatmap.png": "image/png",
    "report.html": "text/html; charset=utf-8",
    "probability.dcm": "application/dicom",
    "regions.dcm": "application/dicom",
}
DICOM: tuple[Product, ...] = ("probability.dcm", "regions.dcm")  # of DICOM slides alone; they hold the patient's name


@dataclass(frozen=True)
class SlideEntry:
    """A slide that is offered.

    Attributes:
        id: 32 hexadecimal digits, which say nothing about the file's name.
        name: the path below the configured folder; None for who may not read everything.
        state: ``waiting``: not opened yet. ``refused``: it cannot be scored.
        reason: why it is refused or waits; empty otherwise.
        width, height: of level 0 in pixels; None where they are not known.
        microns_per_pixel: of level 0.
        vendor: OpenSlide's name of the format; empty where it is not known.
        last_run: the newest run that the caller may see.
    """

    id: str
    name: str | None
    state: SlideState
    reason: str
    width: int | None = None
    height: int | None = None
    microns_per_pixel: float | None = None
    vendor: str = ""
    last_run: SlideRun | None = None


@dataclass(frozen=True)
class DeepZoom:
    """Tiles of a slide: level ``levels - 1`` has all pixels, each level below half as many across and down.

    Attributes:
        width, height: of what was scanned, in level-0 pixels.
        bounds_x, bounds_y: level-0 pixel at which that begins; cells state level-0 pixels.
        tile: pixels across and down, without the overlap.
        overlap: pixels that a tile shares with each neighbour.
    """

    width: int
    height: int
    bounds_x: int
    bounds_y: int
    levels: int
    tile: int = 254
    overlap: int = 1
