"""How much of a slide was judged, and why the rest was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from slides.cells import Cells, State
from slides.regions import cell_areas_mm2
from slides.runfile import Run

REASON_TEXTS: Mapping[str, str] = {
    "tissue": "too little tissue in the patch",
    "no_tissue": "no tissue whose stain could be measured",
    "sharpness": "out of focus",
    "stain": "the stain differs from the training patches'",
    "scope": "the patch differs from what the model was trained on",
    "unreadable": "the file could not be read there",
    "crashed": "reading or answering it crashed repeatedly",
    "other": "another reason",
}


MOST_UNREAD = 0.05


@dataclass(frozen=True)
class Unread:
    """Cells that could not be read.

    Attributes:
        cells: how many.
        of: how many may hold tissue: those that are not glass.
        text: the same in sentences: why, and what to do.
    """

    cells: int
    of: int
    text: str

    @property
    def many(self) -> bool:
        """Whether so much is missing that the result is not that of the whole slide."""
        return self.cells > MOST_UNREAD * self.of


@dataclass(frozen=True)
class Share:
    """Cells of one state, or not judged for one reason.

    Attributes:
        of_tissue: share of the area that holds tissue or could not be read; None for glass.
    """

    name: str
    cells: int
    area_mm2: float
    of_tissue: float | None


def unread(cells: Cells) -> Unread | None:
    """What could not be read; None if all was read."""
    holes = cells.where(State.HOLE)
    count, of = int(holes.sum()), int((~cells.where(State.GLASS)).sum())
    if not count:
        return None
    codes = Counter(code for at, codes in cells.reason.items() if holes[at] for code in codes.split())
    why = "; ".join(f"{number:,}: {REASON_TEXTS[code]}" for code, number in codes.most_common())
    return Unread(
        count,
        of,
        f"{count:,} of {of:,} cells that may hold tissue ({100 * count / of:.3g} %) could not be read"
        f"{f' ({why})' if why else ''}. Nothing is known about them, and regions there are missing. Copy the slide's "
        "file again from its source, or scan the slide again, and score it again.",
    )


def states(run: Run, cells: Cells) -> list[Share]:
    """How many cells, and what area, are in each state."""
    areas = cell_areas_mm2(run, cells)
    total = float(areas[~cells.where(State.GLASS)].sum())
    names = {
        State.SCORED: "judged",
        State.NOT_ASSESSABLE: "not assessable",
        State.HOLE: "could not be read",
        State.GLASS: "glass",
    }
    found = []
    for state, name in names.items():
        where = cells.where(state)
        area = float(areas[where].sum())
        share = None if state is State.GLASS or not total else area / total
        found.append(Share(name, int(where.sum()), area, share))
    return found


def reasons(run: Run, cells: Cells) -> list[Share]:
    """Why tissue was not judged, the largest area first; a cell with two reasons counts for each."""
    areas = cell_areas_mm2(run, cells)
    glass = cells.where(State.GLASS)
    total = float(areas[~glass].sum())
    counts: dict[str, tuple[int, float]] = {}
    for at, codes in cells.reason.items():
        if glass[at]:
            continue
        for code in codes.split():
            count, area = counts.get(code, (0, 0.0))
            counts[code] = count + 1, area + float(areas[at])
    shares = [Share(REASON_TEXTS[code], count, area, area / total) for code, (count, area) in counts.items()]
    return sorted(shares, key=lambda share: (-share.area_mm2, share.name))
