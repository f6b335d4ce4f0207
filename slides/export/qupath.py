"""GeoJSON that QuPath opens with *File → Import objects from file*."""

from __future__ import annotations

from collections.abc import Sequence

from slides.cells import Cells
from slides.geojson import regions_geojson, tiles_geojson
from slides.regions import Region, Rule
from slides.runfile import Run


def qupath_geojson(run: Run, cells: Cells, regions: Sequence[Region], rule: Rule, *, tiles: bool = False) -> bytes:
    """Regions as locked annotations, or scored cells as tiles with measurements and no class.

    QuPath shows only the scanned part of a slide whose file states its bounds, and counts pixels from its corner.
    """
    offset = run.slide.bounds_x, run.slide.bounds_y
    return tiles_geojson(run, cells, rule, offset) if tiles else regions_geojson(run, regions, rule, offset)
