"""Scores one chunk of cells: a pure function of the slide, the model and the chunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model_zoo.basis import ground_of
from model_zoo.decision import consistency_report
from model_zoo.golden import Logits
from model_zoo.orbit import Rotations, measure_orbit
from model_zoo.shifts import DISTANCE_PX, OFFSETS_PX, shift_report
from model_zoo.symmetry import Group
from model_zoo.turns import SIDE, Patch
from slides.cells import STATES, State
from slides.grid import STRIDE, Chunk, pixels_of
from slides.opened import Model
from slides.quality import Qualities, qualities
from slides.raster import Raster
from slides.reader import Pixels

REASON_CODES = ("tissue", "sharpness", "no_tissue", "stain", "unreadable", "crashed")
CELL = np.dtype(
    [
        ("state", "u1"),
        ("reasons", "u1"),
        ("logits", "<f4", 2),
        ("probability", "<f8"),
        ("turns", "<f8"),
        ("shifts", "<f8"),
        ("tissue", "<f8"),
        ("sharpness", "<f8"),
        ("density", "<f8", 3),
    ]
)

_SCORED, _GLASS, _NOT_ASSESSABLE = (
    np.uint8(STATES.index(state)) for state in (State.SCORED, State.GLASS, State.NOT_ASSESSABLE)
)

CellArray = NDArray[np.void]


class SlideRotations(StrEnum):
    """Of which cells the turns are measured: ``auto``: of those in the review band and above it."""

    NONE = "none"
    AUTO = "auto"
    FULL = "full"


class SlideShifts(StrEnum):
    """Of which cells the shifts are measured: ``auto``: of those in the review band and above it."""

    NONE = "none"
    AUTO = "auto"
    REPORT = "report"


@dataclass(frozen=True)
class Measures:
    """Which consistencies are measured."""

    rotations: SlideRotations = SlideRotations.AUTO
    shifts: SlideShifts = SlideShifts.AUTO


class Scorer:
    """Scores chunks of one slide with one model."""

    def __init__(self, raster: Raster, model: Model, measures: Measures) -> None:
        self.raster = raster
        self.model = model
        self.network = model.network
        self.manifest = model.manifest
        self.measures = measures
        self._group = Group.parse(self.manifest.group.name)
        self._exact_subgroup = Group.parse(self.manifest.exact_subgroup)
        self._border = 0 if measures.shifts is SlideShifts.NONE else DISTANCE_PX

    def score(self, chunk: Chunk, candidates: NDArray[np.bool_]) -> CellArray:
        """Score a chunk.

        Args:
            chunk: the cells.
            candidates: bool [rows, columns], those that may hold tissue; the others are glass.

        Returns:
            ``CELL`` [rows, columns]; NaN where nothing was measured.
        """
        found = nothing((chunk.rows, chunk.columns), State.GLASS)
        part = _bounding(chunk, candidates)
        if part is None:
            return found
        block, unreadable = self.raster.read(pixels_of(part, self._border))
        inner = block[_within(block.shape[:2], self._border)]
        judged = qualities(inner, part.rows, part.columns, self.manifest.quality)
        top, left = part.row - chunk.row, part.column - chunk.column
        area = (slice(top, top + part.rows), slice(left, left + part.columns))
        cells = found[area]
        wanted = candidates[area]
        holes = np.zeros_like(wanted)
        if unreadable is not None:
            holes = _touched(unreadable[_within(block.shape[:2], self._border)])
        self._assess(cells, judged, wanted & ~holes)
        put(cells, wanted & holes, State.HOLE, "unreadable")
        scored = np.argwhere(cells["state"] == _SCORED)
        self._infer(cells, scored, block)
        if self._border:
            self._shift(cells, scored, block)
        return found

    def _assess(self, cells: CellArray, judged: Qualities, wanted: NDArray[np.bool_]) -> None:
        reference = self.manifest.quality
        bare = np.isnan(judged.stain_distance)
        failing = {
            "tissue": judged.tissue_fraction < reference.min_tissue_fraction,
            "sharpness": judged.sharpness < reference.min_sharpness,
            "no_tissue": bare,
            "stain": judged.stain_distance > reference.max_stain_distance,
        }
        reasons = np.zeros(wanted.shape, np.uint8)
        for code, fails in failing.items():
            reasons |= np.where(fails, np.uint8(_bits([code])), np.uint8(0))
        glass = bare | failing["tissue"]
        state = np.where(reasons == 0, _SCORED, np.where(glass, _GLASS, _NOT_ASSESSABLE))
        for name, values in (("state", state), ("reasons", reasons), ("density", judged.density)):
            cells[name][wanted] = values[wanted]
        cells["tissue"][wanted] = judged.tissue_fraction[wanted]
        cells["sharpness"][wanted] = judged.sharpness[wanted]

    def _infer(self, cells: CellArray, scored: NDArray[np.intp], block: Pixels) -> None:
        if self.measures.rotations is SlideRotations.FULL:
            self._turn(cells, scored, block)
            return
        if len(scored):
            at = tuple(scored.T)
            logits = self.model.logits(block, self._corners(scored))
            cells["logits"][at] = logits
            cells["probability"][at] = self.network.probabilities(logits)
        if self.measures.rotations is SlideRotations.AUTO:
            self._turn(cells, self._doubtful(cells, scored), block)

    def _corners(self, cells: NDArray[np.intp]) -> NDArray[np.intp]:
        """First pixels of the cells' patches in a block."""
        return STRIDE * cells + self._border

    def _turn(self, cells: CellArray, chosen: NDArray[np.intp], block: Pixels) -> None:
        for (row, column), (y, x) in zip(chosen.tolist(), self._corners(chosen).tolist(), strict=True):
            cell = cells[row, column]
            patch = np.ascontiguousarray(block[y : y + SIDE, x : x + SIDE])
            orbit = measure_orbit(patch, self._group, self._exact_subgroup, Rotations.FULL, self._logits)
            probabilities = self.network.probabilities(orbit.logits[list(orbit.known)]).tolist()
            cell["turns"] = consistency_report(self.manifest, orbit, probabilities).max_deviation
            if self.measures.rotations is SlideRotations.FULL:
                cell["logits"] = orbit.logits[0]
                cell["probability"] = ground_of(self.manifest, orbit, probabilities[0]).probability

    def _shift(self, cells: CellArray, scored: NDArray[np.intp], block: Pixels) -> None:
        """The slide's own pixels lie beside a patch, so nothing is reflected at its edges."""
        chosen = self._doubtful(cells, scored) if self.measures.shifts is SlideShifts.AUTO else scored
        if not len(chosen):
            return
        offsets = np.array([(dy, dx) for dx, dy in OFFSETS_PX])
        corners = self._corners(chosen)[:, None] + offsets
        probabilities = self.network.probabilities(self.model.logits(block, corners.reshape(-1, 2)))
        nines = probabilities.reshape(-1, len(offsets)).tolist()
        for (row, column), nine in zip(chosen.tolist(), nines, strict=True):
            cells[row, column]["shifts"] = shift_report(nine, self.manifest.threshold).max_deviation

    def _doubtful(self, cells: CellArray, scored: NDArray[np.intp]) -> NDArray[np.intp]:
        logits = np.ascontiguousarray(cells["logits"][tuple(scored.T)])
        return scored[self.network.probabilities(logits) >= self.manifest.review_band[0]]

    def _logits(self, patches: Patch) -> Logits:
        return self.network.logits(patches)


def nothing(shape: tuple[int, int], state: State) -> CellArray:
    """``CELL`` array of this shape in which nothing is measured."""
    cells = np.zeros(shape, CELL)
    cells["state"] = STATES.index(state)
    for name in CELL.names or ():
        if CELL[name].base.kind == "f":
            cells[name] = np.nan
    return cells


def put(cells: CellArray, where: NDArray[np.bool_], state: State, reason: str) -> None:
    """Give the cells where the mask is true a state and a reason."""
    cells["state"][where] = STATES.index(state)
    cells["reasons"][where] = _bits([reason])


def reasons_of(bits: int) -> str:
    """Reason codes, space-separated, in the order of answers."""
    return " ".join(code for index, code in enumerate(REASON_CODES) if bits >> index & 1)


def _bits(reasons: Iterable[str]) -> int:
    return sum(1 << REASON_CODES.index(code) for code in reasons)


def _bounding(chunk: Chunk, candidates: NDArray[np.bool_]) -> Chunk | None:
    """The smallest chunk that holds all candidates, or None if there are none."""
    rows, columns = np.nonzero(candidates)
    if not len(rows):
        return None
    left, top = int(columns.min()), int(rows.min())
    return Chunk(chunk.column + left, chunk.row + top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)


def _within(shape: tuple[int, ...], border: int) -> tuple[slice, ...]:
    return tuple(slice(border, size - border) for size in shape)


def _touched(unreadable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool [rows, columns]: the patches that hold a pixel that could not be read."""
    windows = sliding_window_view(unreadable, (SIDE, SIDE))[::STRIDE, ::STRIDE]
    return np.asarray(windows.any(axis=(2, 3)), np.bool_)
