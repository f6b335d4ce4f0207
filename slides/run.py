"""Runs: a folder for each slide, model and scale, which goes on where it was stopped."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slides import chunkfile, products
from slides.cells import CELLS_FILE, Cells, read_run, write_cells
from slides.errors import SlideError
from slides.grid import STRIDE, Chunk, chunks, columns_of, edges, rows_of
from slides.identity import Identity, hash_of, stamps_of, versions
from slides.opened import Model, OpenSlide
from slides.patch import patch_of
from slides.pool import Job, Pool, Task
from slides.regions import Rule
from slides.runfile import RUN_FILE, Grid, Raster, Run, RunError, Slide, write_atomically, write_runfile
from slides.runfile import Model as ModelFigures
from slides.score import CellArray, Measures, SlideRotations, reasons_of
from slides.tissue import candidates

CHUNKS = "chunks"
SOURCE_FILE = "source.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Heard:
    """Who hears of a run.

    Attributes:
        say: a sentence for people.
        begun: how many cells there are.
        done: how many more cells are done.
    """

    say: Say
    begun: Callable[[int], None]
    done: Callable[[int], None]


def score_slide(
    path: Path,
    out: Path,
    opened: OpenSlide,
    model: Model,
    measures: Measures,
    pool: Pool,
    heard: Heard,
    rule: Rule | None = None,
) -> tuple[Path, Cells]:
    """Score a slide, or go on where a run was stopped; gives the run's folder, and its cells.

    Args:
        path: the slide's file.
        out: where run folders are made.
        opened: the slide at the model's scale.
        model: with which the pool was made.
        measures: which consistencies are measured.
        pool: processes that score.
        heard: who hears of it.
        rule: what makes cells a region; None for the default, and to leave those of a complete run as they are.

    Raises:
        SlideError: if the slide changes meanwhile, or another process scores it.
        OSError: if the folder cannot be written.
    """
    before = stamps_of(path, opened.reader.vendor)
    identity = Identity(
        slide=hash_of(path, opened.reader.vendor),
        model=model.network.sha256,
        scale=opened.scale.microns_per_pixel,
        rotations=measures.rotations.value,
        shifts=measures.shifts.value,
        versions=versions(),
    )
    folder = out / f"{_printable(path.stem)[:100]}-{identity.sha256[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if (known := _complete(folder, identity)) is not None:
            heard.say(f"{path.name}: it was scored before, the result is in {folder}")
            run, cells = known
            heard.begun(cells.state.size)
            heard.done(cells.state.size)
            if rule is not None:
                products.write_of(folder, run, cells, rule)
            return folder, cells
        _say_what_changed(path, folder, identity, heard.say)
        run = _run_of(path, opened, model, measures, identity)
        _begin(folder, run, identity, path)
        cells = _scored(folder, path, opened, identity, measures, pool, heard)
        if before != stamps_of(path, opened.reader.vendor):
            shutil.rmtree(folder / CHUNKS)
            raise SlideError("the file was changed while it was scored: start again when it is whole")
        write_cells(folder / CELLS_FILE, cells)
        run = run.model_copy(update={"state": "complete", "finished_at": datetime.now(UTC)})
        write_runfile(folder, run)
        products.write_of(folder, run, cells, rule, patch_at=partial(patch_of, opened))
        shutil.rmtree(folder / CHUNKS)
    return folder, cells


def _scored(
    folder: Path,
    path: Path,
    opened: OpenSlide,
    identity: Identity,
    measures: Measures,
    pool: Pool,
    heard: Heard,
) -> Cells:
    how = opened.plan
    cells = Cells.glass(*edges(how))
    heard.begun(columns_of(how) * rows_of(how))
    missing: list[Chunk] = []
    for chunk in chunks(how):
        found = chunkfile.read(folder / CHUNKS, chunk, identity.sha256)
        if found is None:
            missing.append(chunk)
        else:
            _place(cells, chunk, found)
            heard.done(chunk.columns * chunk.rows)
    if not missing:
        return cells
    wanted = candidates(opened.reader, how)
    tasks = [Task(chunk, wanted[_area(chunk)]) for chunk in missing]
    for chunk, found in pool.score(Job(path, how, measures), tasks):
        chunkfile.write(folder / CHUNKS, chunk, found, identity.sha256)
        _place(cells, chunk, found)
        heard.done(chunk.columns * chunk.rows)
    return cells


def _area(chunk: Chunk) -> tuple[slice, slice]:
    return slice(chunk.row, chunk.row + chunk.rows), slice(chunk.column, chunk.column + chunk.columns)


def _place(cells: Cells, chunk: Chunk, found: CellArray) -> None:
    area = _area(chunk)
    for name in ("state", "logits", "probability", "turns", "shifts", "tissue", "sharpness", "density"):
        getattr(cells, name)[area] = found[name]
    for row, column in np.argwhere(found["reasons"]).tolist():
        at = chunk.row + row, chunk.column + column
        cells.reason[at] = reasons_of(int(found["reasons"][row, column]))


def _run_of(path: Path, opened: OpenSlide, model: Model, measures: Measures, identity: Identity) -> Run:
    how, manifest, level = opened.plan, model.manifest, opened.reader.levels[0]
    bounds = opened.reader.bounds
    orbit = manifest.orbit if measures.rotations is SlideRotations.FULL else None
    basis = orbit or manifest
    return Run(
        slide=Slide(
            name=_printable(path.name),
            sha256=identity.slide,
            vendor=_printable(opened.reader.vendor),
            width=level.width,
            height=level.height,
            microns_per_pixel=opened.scale.microns_per_pixel,
            scale_source=opened.scale.source,
            bounds_x=bounds.x,
            bounds_y=bounds.y,
        ),
        raster=Raster(level=how.level, factor=how.factor, filter=how.filter, microns_per_pixel=how.microns_per_pixel),
        grid=Grid(columns=columns_of(how), rows=rows_of(how), stride=STRIDE, origin=how.origin),
        model=ModelFigures(
            name=manifest.name,
            version=manifest.version,
            sha256=model.network.sha256,
            graph_sha256=manifest.graph_sha256,
            microns_per_pixel=manifest.input.microns_per_pixel,
            threshold=basis.threshold,
            temperature=basis.calibration.temperature,
            calibration_prevalence=basis.calibration.prevalence,
            review_band=basis.review_band,
            consistency_limit=manifest.consistency.limit,
        ),
        rotations=measures.rotations.value,
        shifts=measures.shifts.value,
        basis="orbit" if orbit else "single",
        versions=identity.versions,
        state="running",
        started_at=datetime.now(UTC),
    )


def _begin(folder: Path, run: Run, identity: Identity, path: Path) -> None:
    source: dict[str, Any] = {"path": str(path.resolve()), "identity": vars(identity)}
    write_atomically(folder / SOURCE_FILE, (json.dumps(source, indent=2) + "\n").encode())
    write_runfile(folder, run)
    (folder / CHUNKS).mkdir(exist_ok=True)


def source_of(folder: Path) -> dict[str, Any]:
    """``source.json`` of a run folder: the slide's path and the run's identity; empty if it is missing or damaged."""
    try:
        found = json.loads((folder / SOURCE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and isinstance(found.get("identity"), dict) and isinstance(found.get("path"), str)
    return found if whole else {}


def _complete(folder: Path, identity: Identity) -> tuple[Run, Cells] | None:
    """A complete run of this identity; None if there is none, or it cannot be read."""
    if (folder / CHUNKS).exists() or source_of(folder).get("identity") != vars(identity):
        return None
    try:
        return read_run(folder)
    except RunError:
        return None


def _say_what_changed(path: Path, folder: Path, identity: Identity, say: Say) -> None:
    if (folder / CHUNKS).is_dir():
        say(f"{path.name}: going on with the run in {folder}")
        return
    if (folder / RUN_FILE).exists():
        say(f"{path.name}: the run in {folder} did not end or is damaged, so it is scored anew")
        return
    for other in sorted(folder.parent.glob("*/" + SOURCE_FILE)):
        found = source_of(other.parent)
        if other.parent != folder and found.get("path") == str(path.resolve()):
            changed = " and ".join(identity.differs(found["identity"])) or "identity"
            say(f"{path.name}: not the {changed} of the run in {other.parent}, so it is scored anew in {folder}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SlideError(f"another process scores it into {folder}: wait until it has ended") from error
        yield


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() and each not in "/\\" else "_" for each in text) or "_"
