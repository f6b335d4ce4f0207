"""Reads random cells of a run again, one by one, and compares what they give with what was written, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from model_zoo.decision import failures
from model_zoo.opening import ModelError, read_artifact, shipped_artifacts
from model_zoo.quality import measure
from slides.cells import STATES, Cells, State, read_run
from slides.errors import SlideError
from slides.grid import edges
from slides.identity import hash_of
from slides.opened import Model, OpenSlide, default_artifact, naming, open_model, open_slide
from slides.patch import patch_of
from slides.run import source_of
from slides.runfile import Run


@dataclass(frozen=True)
class Difference:
    """A cell that gives something else than was written."""

    column: int
    row: int
    what: str


def verify_run(folder: Path, cells: int, slide: Path | None, model: Path | None) -> tuple[int, list[Difference]]:
    """Check random cells; gives how many, and those that differ.

    Args:
        folder: of a complete run.
        cells: how many; all if there are fewer.
        slide: the slide's file, if it has moved.
        model: the artifact, if it is neither shipped nor ``ROSETTE_MODEL``.

    Raises:
        RunError: if the run cannot be read.
        SlideError, ModelError: if the slide or the model is missing, or another one.
    """
    run, written = read_run(folder)
    path = slide or _slide_of(folder)
    opened_model = _model_of(run, model)
    stated = run.slide.microns_per_pixel if run.slide.scale_source == "stated" else None
    opened = open_slide(path, opened_model.manifest, stated)
    with opened.reader:
        if hash_of(opened.reader.path, opened.reader.vendor) != run.slide.sha256:
            raise SlideError(f"{path} is not the file that was scored: name that one with --slide")
        _check_grid(opened, written)
        rows, columns = written.shape
        chosen = random.SystemRandom().sample(range(rows * columns), min(cells, rows * columns))
        differing = [
            Difference(index % columns, index // columns, what)
            for index in sorted(chosen)
            for what in _differences(opened, opened_model, run, written, index % columns, index // columns)
        ]
    return len(chosen), differing


def _slide_of(folder: Path) -> Path:
    path = source_of(folder).get("path")
    if path is None or not Path(path).exists():
        raise SlideError(f"the slide of {folder} is not where it was: name it with --slide FILE")
    return Path(path)


def _model_of(run: Run, named: Path | None) -> Model:
    for path in [named] if named else [default_artifact(), *shipped_artifacts()]:
        try:
            with naming(path):
                found = sha256(read_artifact(path)).hexdigest()
        except ModelError:
            if named:
                raise
            continue  # ROSETTE_MODEL need not be the run's
        if found == run.model.sha256:
            return open_model(path)
    scored = f"the run was scored by {run.model.name} {run.model.version} ({run.model.sha256[:12]})"
    if named:
        raise ModelError(f"{scored}, which {named} is not: name its file with --model")
    raise ModelError(f"{scored}, which is not here: name its file with --model")


def _check_grid(opened: OpenSlide, written: Cells) -> None:
    x, y = edges(opened.plan)
    if not (np.array_equal(x, written.x) and np.array_equal(y, written.y)):
        raise SlideError("the cells lie elsewhere than this program would lay them: score the slide again")


def _differences(opened: OpenSlide, model: Model, run: Run, written: Cells, column: int, row: int) -> Iterator[str]:
    at = row, column
    state = STATES[written.state[at]]
    patch = patch_of(opened, column, row)
    if patch is None:
        if state is not State.HOLE:
            yield f"the state is {state.value}, but it cannot be read"
        return
    quality = measure(patch, model.manifest.quality)
    if state is State.HOLE:
        yield "it is a hole, but can be read"
    elif quality.assessable != (state is State.SCORED):
        yield f"the state is {state.value}, but it is {'assessable' if quality.assessable else 'not assessable'}"
    elif state is not State.SCORED:
        found = " ".join(code for code, *_ in failures(quality, model.manifest.quality))
        if written.reason.get(at, found) != found:
            yield f"the reason is {written.reason[at]}, found {found}"
    if state is State.SCORED:
        logits = model.network.logits(patch[None])
        if logits[0].tobytes() != written.logits[at].tobytes():
            yield f"the logits are {written.logits[at].tolist()}, found {logits[0].tolist()}"
        found_probability = float(model.network.probabilities(logits)[0])
        if run.basis == "single" and found_probability != float(written.probability[at]):
            yield f"the probability is {float(written.probability[at])!r}, found {found_probability!r}"
