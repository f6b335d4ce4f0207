"""Maps as pictures: one layer for each measure, and ``heatmap.png`` with outlines of regions and a legend."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model_zoo.decision import at_prevalence
from model_zoo.notice import NOTICE
from slides.cells import STATES, Cells, State
from slides.palette import HOLE, OUTLINE, REFUSED, RGB, colours
from slides.regions import Region, Rule
from slides.runfile import Run

Layer = Literal["probability", "turns", "shifts", "not_assessable"]
Pattern = Callable[[NDArray[np.int64], NDArray[np.int64], int], NDArray[np.bool_]]
LAYERS: tuple[Layer, ...] = get_args(Layer)
TARGET_PX = 1200
MAX_CELL_PX = 16
LEGEND_PX = 560
_FONT = ImageFont.load_default(13)


def layer(run: Run, cells: Cells, which: Layer, prevalence: float, cell_px: int = 1) -> Image.Image:
    """One measure of all cells as an RGBA picture of ``cell_px`` pixels a cell.

    Glass and cells without the measure are transparent. Cells that could not be judged are hatched grey, holes crossed,
    in every layer. Deviations are drawn from 0 to 0.5, the most that they can usefully be.

    Args:
        prevalence: to which the probability is moved.
    """
    picture = np.zeros((*cells.shape, 4), dtype=np.uint8)
    if which != "not_assessable":
        values = _values(run, cells, which, prevalence)
        known = ~np.isnan(values) & cells.where(State.SCORED)
        picture[known, :3] = colours(values[known])
        picture[known, 3] = 255
    large = picture.repeat(cell_px, axis=0).repeat(cell_px, axis=1)
    for state, (light, dark), pattern in (
        (State.NOT_ASSESSABLE, REFUSED, _hatch),
        (State.HOLE, HOLE, _cross),
    ):
        where = (cells.state == STATES.index(state)).repeat(cell_px, axis=0).repeat(cell_px, axis=1)
        rows, columns = np.nonzero(where)
        drawn = pattern(rows, columns, cell_px)
        large[rows, columns, :3] = _painted(drawn, (light, dark))
        large[rows, columns, 3] = 255
    return Image.fromarray(large)


def heatmap_png(run: Run, cells: Cells, regions: Sequence[Region], rule: Rule) -> bytes:
    """The map of probabilities with outlined, numbered regions and a legend, on transparent ground."""
    cell_px = cell_px_of(cells)
    drawn = layer(run, cells, "probability", rule.prevalence, cell_px)
    _outline(drawn, cells, regions, cell_px)
    legend = _legend(run, rule)
    width = max(drawn.width, legend.width)
    picture = Image.new("RGBA", (width, drawn.height + legend.height), (255, 255, 255, 0))
    picture.paste(drawn, (0, 0))
    picture.paste((255, 255, 255, 255), (0, drawn.height, width, picture.height))
    picture.paste(legend, (0, drawn.height))
    return png(picture)


def cell_px_of(cells: Cells) -> int:
    """Pixels a cell, so that the longer side has about 1200 pixels."""
    return max(1, min(MAX_CELL_PX, TARGET_PX // max(cells.shape)))


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file, without metadata: equal pictures give equal bytes."""
    written = io.BytesIO()
    picture.save(written, format="PNG", optimize=False)
    return written.getvalue()


def _values(run: Run, cells: Cells, which: Layer, prevalence: float) -> NDArray[np.float64]:
    if which == "turns":
        return cells.turns * 2
    if which == "shifts":
        return cells.shifts * 2
    distinct, where = np.unique(cells.probability, return_inverse=True)
    calibration = run.model.calibration_prevalence
    moved = [value if value != value else at_prevalence(value, prevalence, calibration) for value in distinct.tolist()]
    values: NDArray[np.float64] = np.array(moved)[where].reshape(cells.shape)
    return values


def _hatch(rows: NDArray[np.int64], columns: NDArray[np.int64], cell_px: int) -> NDArray[np.bool_]:
    drawn: NDArray[np.bool_] = (rows + columns) % 6 < 2
    return drawn if cell_px > 2 else (rows + columns) % 2 == 0


def _cross(rows: NDArray[np.int64], columns: NDArray[np.int64], cell_px: int) -> NDArray[np.bool_]:
    y, x = rows % cell_px, columns % cell_px
    drawn: NDArray[np.bool_] = (y == x) | (y == cell_px - 1 - x)
    return drawn


def _outline(picture: Image.Image, cells: Cells, regions: Sequence[Region], cell_px: int) -> None:
    pen = ImageDraw.Draw(picture)
    for region in regions:
        for polygon in region.polygons:
            for ring in polygon:
                columns = np.searchsorted(cells.x, [x for x, _ in ring]) * cell_px
                rows = np.searchsorted(cells.y, [y for _, y in ring]) * cell_px
                corners = list(zip(columns.tolist(), rows.tolist(), strict=True))
                pen.line(corners, fill=(*OUTLINE, 255), width=2)
        left, top = region.polygons[0][0][0]
        at = (int(np.searchsorted(cells.x, left)) * cell_px, int(np.searchsorted(cells.y, top)) * cell_px)
        _number(pen, str(region.number), at)


def _number(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int]) -> None:
    left, top, right, bottom = pen.textbbox(at, text, font=_FONT)
    pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=(255, 255, 255, 255))
    pen.text(at, text, fill=(*OUTLINE, 255), font=_FONT)


def _legend(run: Run, rule: Rule) -> Image.Image:
    picture = Image.new("RGBA", (LEGEND_PX, 118), (255, 255, 255, 255))
    pen = ImageDraw.Draw(picture)
    ink = (30, 30, 30, 255)
    bar = colours(np.linspace(0, 1, 200))[None].repeat(14, axis=0)
    picture.paste(Image.fromarray(bar), (10, 10))
    for place, text in ((10, "0"), (106, "0.5"), (204, "1")):
        pen.text((place, 26), text, fill=ink, font=_FONT)
    pen.text((220, 9), f"probability where {rule.prevalence:g} of the cells are positive", fill=ink, font=_FONT)
    for place, text, pattern, shades in (
        (10, "not assessable", _hatch, REFUSED),
        (150, "could not be read", _cross, HOLE),
    ):
        _swatch(picture, (place, 50), pattern, shades)
        pen.text((place + 22, 49), text, fill=ink, font=_FONT)
    pen.rectangle((310, 50, 326, 64), outline=(*OUTLINE, 255), width=2)
    pen.text((332, 49), "region; blank: glass", fill=ink, font=_FONT)
    name = _shortened(run.slide.name).encode("ascii", "replace").decode()  # the font knows little more
    pen.text((10, 74), f"{name}, model {run.model.name} {run.model.version}", fill=ink, font=_FONT)
    pen.text((10, 94), NOTICE, fill=ink, font=_FONT)
    return picture


def _swatch(picture: Image.Image, at: tuple[int, int], pattern: Pattern, shades: tuple[RGB, RGB]) -> None:
    rows, columns = (axis.ravel() for axis in np.indices((16, 16)))
    pixels = _painted(pattern(rows, columns, 16), shades).reshape(16, 16, 3)
    picture.paste(Image.fromarray(pixels), at)
    ImageDraw.Draw(picture).rectangle((at[0], at[1], at[0] + 15, at[1] + 15), outline=(120, 120, 120, 255))


def _painted(drawn: NDArray[np.bool_], shades: tuple[RGB, RGB]) -> NDArray[np.uint8]:
    """The second shade where a pattern is drawn, else the first: uint8 [pixels, 3]."""
    return np.array(shades, dtype=np.uint8)[drawn.astype(np.intp)]


def _shortened(name: str) -> str:
    return name if len(name) <= 48 else f"{name[:29]}...{name[-16:]}"
