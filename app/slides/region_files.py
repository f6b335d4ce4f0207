"""What a run's ``regions.geojson`` says of its regions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

MAX_BYTES = 2**26


@dataclass(frozen=True)
class RegionEntry:
    """A region: its number of cells, and its largest probability at the run's prevalence."""

    cells: int
    largest: float


def read_bounded(file: Path) -> Any:
    """The JSON value in a file that a confined process wrote.

    Raises:
        OSError: if it cannot be read.
        ValueError, RecursionError: if it is no JSON, or larger than 64 MiB.
    """
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return json.loads(content)


def regions_of(file: Path) -> list[RegionEntry]:
    """The regions by their number, from 1.

    Raises:
        ValueError: if the file is damaged, larger than 64 MiB or gone.
    """
    try:
        read = read_bounded(file)
        name = f"Largest probability at prevalence {read['rosette']['rule']['prevalence']:g}"
        measured = [feature["properties"]["measurements"] for feature in read["features"]]
        found = [RegionEntry(int(each["Cells"]), float(each[name])) for each in measured]
        if not all(each.cells > 0 and isfinite(each.largest) for each in found):
            raise ValueError("no region")
        return found
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("the files of this run are damaged or gone: score the slide again") from error
