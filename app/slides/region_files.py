"""What a run's ``regions.geojson`` says of its regions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RegionEntry:
    """A region: its number of cells, and its largest probability at the run's prevalence."""

    cells: int
    largest: float


def regions_of(file: Path) -> list[RegionEntry]:
    """The regions by their number, from 1.

    Raises:
        ValueError: if the file is damaged or gone.
    """
    try:
        read = json.loads(file.read_bytes())
        name = f"Largest probability at prevalence {read['rosette']['rule']['prevalence']:g}"
        measured = [feature["properties"]["measurements"] for feature in read["features"]]
        return [RegionEntry(int(each["Cells"]), float(each[name])) for each in measured]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError("the files of this run are damaged or gone: score the slide again") from error
