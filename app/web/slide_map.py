"""A complete run as the viewer needs it: its regions, and its cells packed for a script."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.slides.region_files import read_bounded
from slides.cells import STATES, Cells, State, read_run
from slides.palette import colours
from slides.runfile import Run, RunError

REASONS = ("tissue", "no_tissue", "sharpness", "stain", "scope", "unreadable", "crashed", "other")
MAX_REGIONS = 500
STEPS, SWATCHES = 256, 48
NOTHING = 0xFFFF


@dataclass(frozen=True)
class RegionRow:
    """One region of the list; probabilities are at the prevalence that the run's regions were found at.

    Attributes:
        turns, shifts: largest deviation in the region; None where none was measured.
        beyond: cells whose turns deviate by more than the model's limit.
        not_judged: cells inside or beside the region that could not be judged.
        box: left, top, right and bottom in level-0 pixels.
        doubt: the larger of both deviations; what the list is ordered by on request.
    """

    number: int
    largest: float
    mean: float
    area_mm2: float
    cells: int
    turns: float | None
    shifts: float | None
    beyond: int
    not_judged: int
    box: tuple[int, int, int, int]

    @property
    def doubt(self) -> float:
        return max(self.turns or 0.0, self.shifts or 0.0)


@dataclass(frozen=True)
class Regions:
    """The regions of a run, by their largest probability, and the rule that found them.

    Attributes:
        more: how many are not listed.
        unread: in sentences, what of the slide could not be read; empty if all was.
        many_unread: whether that is too much for a result of the whole slide.
        polygons: for each listed region, its polygons as rings of level-0 pixels.
    """

    rows: tuple[RegionRow, ...]
    more: int
    rule: dict[str, float]
    polygons: tuple[Any, ...]
    unread: str = ""
    many_unread: bool = False


def read_regions(file: Path) -> Regions:
    """What ``regions.geojson`` says.

    Raises:
        RunError: if it is not as :mod:`slides.geojson` writes it.
    """
    try:
        return _regions(read_bounded(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{file.name} cannot be read ({error}): score the slide again") from error


def _regions(read: Any) -> Regions:
    rule = {name: float(value) for name, value in read["rosette"]["rule"].items()}
    features = read["features"]
    shown = features[:MAX_REGIONS]
    polygons = tuple(_polygons(feature["geometry"]) for feature in shown)
    rows = tuple(
        _row(number, feature["properties"]["measurements"], f" at prevalence {rule['prevalence']:g}", outlines)
        for number, (feature, outlines) in enumerate(zip(shown, polygons, strict=True), start=1)
    )
    unread = read["rosette"].get("unread") or {"text": "", "many": False}
    return Regions(rows, len(features) - len(shown), rule, polygons, str(unread["text"]), bool(unread["many"]))


def _polygons(geometry: dict[str, Any]) -> list[list[list[list[int]]]]:
    found: list[list[list[list[int]]]] = geometry["coordinates"]
    return found if geometry["type"] == "MultiPolygon" else [found]  # type: ignore[list-item]


def _row(number: int, said: dict[str, float], at: str, polygons: list[list[list[list[int]]]]) -> RegionRow:
    measured = {name: float(value) for name, value in said.items()}
    x, y = zip(*chain.from_iterable(outer for outer, *_ in polygons), strict=True)
    return RegionRow(
        number=number,
        largest=measured[f"Largest probability{at}"],
        mean=measured[f"Mean probability{at}"],
        area_mm2=measured["Area mm2"],
        cells=int(measured["Cells"]),
        turns=measured.get("Largest turn deviation"),
        shifts=measured.get("Largest shift deviation"),
        beyond=int(measured.get("Cells beyond the turn limit", 0)),
        not_judged=int(measured["Cells not judged inside"] + measured["Cells not judged beside"]),
        box=(int(min(x)), int(min(y)), int(max(x)), int(max(y))),
    )


@lru_cache(maxsize=8)
def packed_cells(folder: Path, prevalence: float) -> bytes:
    """All cells of a complete run, compressed with gzip.

    Little endian, one after the other: int32 columns, rows, edges of columns (columns + 1), edges of rows (rows + 1),
    in level-0 pixels; then, for each cell by rows, uint16 probability at ``prevalence``, uint16 deviation over the
    turns, uint16 deviation over the shifts (65534 is 1, 65535 nothing), uint8 state (an index into ``STATES``), and
    uint8 reasons (bits in the order of ``REASONS``).

    Raises:
        RunError: if the folder holds no complete run.
    """
    run, cells = read_run(folder)
    rows, columns = cells.shape
    parts = (
        np.array([columns, rows], dtype="<i4"),
        cells.x.astype("<i4"),
        cells.y.astype("<i4"),
        _scaled(np.where(cells.where(State.SCORED), _moved(run, cells, prevalence), np.nan)),
        _scaled(cells.turns),
        _scaled(cells.shifts),
        cells.state,
        _reasons(cells),
    )
    return gzip.compress(b"".join(part.tobytes() for part in parts), 6, mtime=0)


def palette() -> str:
    """The map's colours for 256 even steps from 0 to 1, six hexadecimal digits each, one after the other."""
    return colours(np.linspace(0, 1, STEPS)).tobytes().hex()


def swatches() -> list[str]:
    """The map's colours as a legend draws them."""
    return [f"#{bytes(colour).hex()}" for colour in colours(np.linspace(0, 1, SWATCHES))]


def state_names() -> list[str]:
    return [state.value for state in STATES]


def _moved(run: Run, cells: Cells, prevalence: float) -> NDArray[np.float64]:
    """The probabilities at a prevalence, as :func:`model_zoo.decision.at_prevalence` moves them."""
    calibration = run.model.calibration_prevalence
    odds = prevalence / (1 - prevalence) / (calibration / (1 - calibration))
    p = cells.probability
    moved: NDArray[np.float64] = p * odds / (p * odds + (1 - p))
    return moved


def _scaled(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    whole = np.where(np.isnan(values), NOTHING, np.rint(np.nan_to_num(values) * (NOTHING - 1)))
    return whole.astype("<u2")


def _reasons(cells: Cells) -> NDArray[np.uint8]:
    bits = np.zeros(cells.shape, dtype=np.uint8)
    for at, codes in cells.reason.items():
        bits[at] = sum(1 << REASONS.index(code) for code in codes.split())
    return bits
