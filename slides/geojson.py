"""GeoJSON (RFC 7946) of regions and cells, with the properties that QuPath 0.4 and later read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from model_zoo.decision import at_prevalence
from model_zoo.notice import NOTICE
from slides.cells import Cells, State
from slides.regions import Polygon, Region, Rule
from slides.runfile import Run
from slides.summary import Unread

Feature = dict[str, Any]
REGION_COLOR = (213, 94, 0)


def regions_geojson(
    run: Run, regions: Iterable[Region], rule: Rule, offset: tuple[int, int] = (0, 0), unread: Unread | None = None
) -> bytes:
    """A FeatureCollection with one annotation for each region.

    Args:
        offset: what to subtract from x and y, in level-0 pixels.
        unread: what could not be read.
    """
    return _collection(run, rule, [_region_feature(run, region, rule, offset) for region in regions], unread)


def tiles_geojson(run: Run, cells: Cells, rule: Rule, offset: tuple[int, int] = (0, 0)) -> bytes:
    """A FeatureCollection with one tile for each scored cell; tiles carry measurements and no class."""
    moved_name = f"Probability at prevalence {rule.prevalence:g}"
    features = []
    for row, column in zip(*map(list, cells.where(State.SCORED).nonzero()), strict=True):
        left, right = (int(edge) - offset[0] for edge in cells.x[column : column + 2])
        top, bottom = (int(edge) - offset[1] for edge in cells.y[row : row + 2])
        ring = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        probability = float(cells.probability[row, column])
        moved = at_prevalence(probability, rule.prevalence, run.model.calibration_prevalence)
        measured = {"Probability": probability, moved_name: moved}
        for name, values in (("Turn deviation", cells.turns), ("Shift deviation", cells.shifts)):
            if (value := float(values[row, column])) == value:
                measured[name] = value
        features.append(
            _feature(
                _identity(run, f"tile {column} {row}"),
                {"type": "Polygon", "coordinates": [ring]},
                {"objectType": "tile", "isLocked": True, "measurements": measured},
            )
        )
    return _collection(run, rule, features)


def _region_feature(run: Run, region: Region, rule: Rule, offset: tuple[int, int]) -> Feature:
    measurements = {
        "Area mm2": region.area_mm2,
        "Cells": len(region.rows),
        f"Mean probability at prevalence {rule.prevalence:g}": region.mean_moved,
        f"Largest probability at prevalence {rule.prevalence:g}": region.largest_moved,
        "Mean probability": region.mean,
        "Largest probability": region.largest,
        "Cells with turns measured": region.turns.measured,
        "Largest turn deviation": region.turns.largest,
        "Cells beyond the turn limit": region.turns.beyond,
        "Cells with shifts measured": region.shifts.measured,
        "Largest shift deviation": region.shifts.largest,
        "Cells not judged inside": region.not_judged_inside,
        "Cells not judged beside": region.not_judged_beside,
    }
    return _feature(
        region_uuid(run, region, rule),
        _geometry(region.polygons, offset),
        {
            "objectType": "annotation",
            "name": f"Region {region.number}",
            "classification": {"name": "Suspicious region", "color": list(REGION_COLOR)},
            "isLocked": True,
            "measurements": {name: value for name, value in measurements.items() if value is not None},
            "metadata": {"notice": NOTICE, "scope": "not checked" if run.scope is None else run.scope.verdict},
        },
    )


def _geometry(polygons: list[Polygon], offset: tuple[int, int]) -> dict[str, Any]:
    moved = [[[(x - offset[0], y - offset[1]) for x, y in ring] for ring in polygon] for polygon in polygons]
    if len(moved) == 1:
        return {"type": "Polygon", "coordinates": moved[0]}
    return {"type": "MultiPolygon", "coordinates": moved}


def _feature(identity: UUID, geometry: dict[str, Any], properties: dict[str, Any]) -> Feature:
    return {"type": "Feature", "id": str(identity), "geometry": geometry, "properties": properties}


def region_uuid(run: Run, region: Region, rule: Rule) -> UUID:
    """The same in every export of a region."""
    return _identity(run, f"region {rule.model_dump_json()} {region.number}")


def _identity(run: Run, what: str) -> UUID:
    """The same for the same slide, model and thing, so that equal runs give equal files."""
    return uuid5(NAMESPACE_URL, f"rosette:{run.slide.sha256}:{run.model.sha256}:{what}")


def _collection(run: Run, rule: Rule, features: list[Feature], unread: Unread | None = None) -> bytes:
    head: dict[str, Any] = {
        "notice": NOTICE,
        "slide": {"name": run.slide.name, "sha256": run.slide.sha256},
        "model": {"name": run.model.name, "version": run.model.version, "sha256": run.model.sha256},
        "rule": rule.model_dump(),
        "scope": None if run.scope is None else run.scope.verdict,
    }
    if unread is not None:
        head["unread"] = asdict(unread) | {"many": unread.many}
    lines = ",\n".join(json.dumps(feature, separators=(",", ":"), allow_nan=False) for feature in features)
    start = json.dumps({"type": "FeatureCollection", "rosette": head}, allow_nan=False)[:-1]
    return f'{start}, "features": [\n{lines}\n]}}\n'.encode()
