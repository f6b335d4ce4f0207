"""What a run is for: its regions, its map, its report, and other programs' formats, made from what was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from slides.cells import Cells, read_run
from slides.export.qupath import qupath_geojson
from slides.export.wsinfer import wsinfer_csv
from slides.geojson import regions_geojson
from slides.heatmap import heatmap_png
from slides.regions import Region, Rule, find_regions
from slides.report import report_html
from slides.runfile import Run, write_atomically, write_runfile
from slides.scope import PatchAt, judge
from slides.summary import unread

REGIONS_FILE = "regions.geojson"
HEATMAP_FILE = "heatmap.png"
REPORT_FILE = "report.html"


class Format(StrEnum):
    """``csv``: WSInfer's columns. ``qupath``: GeoJSON. ``png``: the map with its legend."""

    CSV = "csv"
    QUPATH = "qupath"
    PNG = "png"


EXPORT_FILES = {Format.CSV: "wsinfer.csv", Format.QUPATH: "qupath.geojson", Format.PNG: "map.png"}


@dataclass(frozen=True, eq=False)
class Map:
    """A complete run with its regions by a rule."""

    run: Run
    cells: Cells
    rule: Rule
    regions: Sequence[Region]

    @classmethod
    def read(cls, folder: Path, rule: Rule) -> Map:
        """Read a run folder, and look for regions.

        Raises:
            RunError: if the folder holds no complete run.
        """
        run, cells = read_run(folder)
        return cls(run, cells, rule, find_regions(run, cells, rule))

    def export(self, to: Format, *, tiles: bool = False) -> bytes:
        """The file of another program.

        Args:
            tiles: scored cells instead of regions; for QuPath alone.
        """
        if to is Format.CSV:
            return wsinfer_csv(self.cells)
        if to is Format.QUPATH:
            return qupath_geojson(self.run, self.cells, self.regions, self.rule, tiles=tiles)
        return heatmap_png(self.run, self.cells, self.regions, self.rule)


def write(folder: Path, rule: Rule | None = None, patch_at: PatchAt | None = None) -> Map:
    """Write the regions, map and report of a complete run beside it, each whole or not at all.

    Raises:
        RunError: if the folder holds no complete run.
    """
    return write_of(folder, *read_run(folder), rule, patch_at)


def write_of(folder: Path, run: Run, cells: Cells, rule: Rule | None = None, patch_at: PatchAt | None = None) -> Map:
    """What :func:`write` does, for a run that was read or made.

    Args:
        patch_at: reads a cell's patch by column and row. With it the slide's scope is judged first, and the verdict is
            put into ``run.json``; without it the verdict that is there stays.
    """
    if patch_at is not None:
        run = run.model_copy(update={"scope": judge(cells, patch_at)})
        write_runfile(folder, run)
    rule = rule or Rule()
    made = Map(run, cells, rule, find_regions(run, cells, rule))
    heatmap = made.export(Format.PNG)
    write_atomically(folder / REGIONS_FILE, regions_geojson(run, made.regions, rule, unread=unread(cells)))
    write_atomically(folder / HEATMAP_FILE, heatmap)
    write_atomically(folder / REPORT_FILE, report_html(run, cells, made.regions, rule, heatmap))
    return made
