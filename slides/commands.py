"""The commands ``rosette slide``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from model_zoo.extras import installing
from model_zoo.notice import NOTICE
from slides.cells import Cells, State
from slides.export_commands import commands as export_commands
from slides.export_commands import readable_errors
from slides.opened import Model, manifest_of, open_model, open_slide
from slides.patch import patch_of, write_patch
from slides.pool import Pool
from slides.regions import Rule
from slides.run import Heard, score_slide
from slides.runfile import read_runfile
from slides.score import Measures, SlideRotations, SlideShifts
from slides.summary import MOST_UNREAD, unread
from slides.verify import verify_run

slide = typer.Typer(help="Score whole slides, without a server.", no_args_is_help=True)
slide.add_typer(export_commands)

_Model = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|NAME",
        help="The artifact, or the name of a shipped one, such as fast, which is the fastest on slides; by default "
        "that of ROSETTE_MODEL, else accurate.",
    ),
]
_Mpp = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER", help="Microns per pixel of the largest level, which counts in place of what the file states."
    ),
]


@slide.callback()
def _slide() -> None:
    """Score whole slides, without a server."""


@slide.command()
def score(
    slides: Annotated[
        list[Path], typer.Argument(metavar="SLIDE...", help="Files of slides, or folders of DICOM files.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where a folder is made for each slide.")],
    model: _Model = None,
    mpp: _Mpp = None,
    rotations: Annotated[
        SlideRotations,
        typer.Option(
            help="Of which cells the turns are measured; auto: of those with a probability in the review band or above."
        ),
    ] = SlideRotations.AUTO,
    shifts: Annotated[
        SlideShifts, typer.Option(help="Of which cells eight shifts of 4 px are measured, likewise.")
    ] = SlideShifts.AUTO,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many processes score; by default one for each core.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Share of the slide's cells that hold metastasis, between 0 and 1; 0.05.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Score on the workers of this Dask scheduler instead.")
    ] = None,
    cluster_tls: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With ca.pem, cert.pem and key.pem for the cluster.")
    ] = None,
) -> None:
    """Score slides: for each, a folder with its cells, regions, a map and a report.

    A run that was stopped goes on where it was. A slide that fails does not stop the others.

    Exits with 0 if every slide was scored, with 1 if one failed or more than 5 % of its cells that may hold tissue
    could not be read, with 2 if the command line is wrong.
    """
    _check_installed()
    with readable_errors(code=2):
        rule = None if prevalence is None else Rule(prevalence=prevalence)
        if cluster_tls is not None and cluster is None:
            raise ValueError("--cluster-tls is for a cluster: give --cluster tls://HOST:PORT, too")
    with readable_errors():
        opened_model = open_model(model)
        out.mkdir(parents=True, exist_ok=True)
    with readable_errors():
        made = _pool(opened_model, processes, cluster, cluster_tls)
    order = _Order(out, opened_model, mpp, Measures(rotations, shifts), rule)
    with made as pool, _bar() as bar:
        outcomes = Counter(_scored(path, order, pool, bar) for path in slides)
    typer.echo(f"Model {opened_model.manifest.name} {opened_model.manifest.version}. {NOTICE}", err=True)
    if failed := outcomes[_Outcome.FAILED]:
        typer.echo(f"rosette: {failed} of {len(slides)} slides failed", err=True)
    if damaged := outcomes[_Outcome.DAMAGED]:
        limit = f"more than {MOST_UNREAD:.0%}".replace("%", " %")
        typer.echo(f"rosette: of {damaged} of {len(slides)} slides, {limit} could not be read: see above", err=True)
    if failed or damaged:
        raise typer.Exit(1)


@slide.command()
def cut(
    slide_file: Annotated[Path, typer.Argument(metavar="SLIDE")],
    column: Annotated[int, typer.Argument(min=0, help="The cell's column, from 0.")],
    row: Annotated[int, typer.Argument(min=0, help="The cell's row, from 0.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PATCH.png", help="The PNG to write.")],
    model: _Model = None,
    mpp: _Mpp = None,
) -> None:
    """Write the 96×96 patch of one cell, as the model sees it."""
    _check_installed()
    with readable_errors():
        manifest = manifest_of(model)
    with readable_errors(f"{slide_file}: "):
        with open_slide(slide_file, manifest, mpp) as opened:
            patch = patch_of(opened, column, row)
            scale = opened.plan.microns_per_pixel
        if patch is None:
            raise ValueError(f"a part of the cell at column {column}, row {row} cannot be read: the file is damaged")
    with readable_errors(f"the patch cannot be written to {output}: "):
        write_patch(patch, scale, output)
    typer.echo(f"Wrote {output}")


@slide.command()
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    cells: Annotated[int, typer.Option(min=1, help="How many random cells are checked.")] = 100,
    slide_file: Annotated[
        Path | None, typer.Option("--slide", metavar="FILE", help="The slide, if it has moved.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|NAME", help="The run's artifact, unless it is that of ROSETTE_MODEL or a shipped one."
        ),
    ] = None,
) -> None:
    """Read random cells of a run again, and compare states, logits and probabilities bit for bit.

    Exits with 0 if all are equal, with 1 if one differs or nothing could be checked.
    """
    _check_installed()
    with readable_errors():
        checked, differing = verify_run(run, cells, slide_file, model)
    for each in differing:
        typer.echo(f"column {each.column}, row {each.row}: {each.what}")
    said = f"{checked} cell{'s' * (checked != 1)} checked"
    typer.echo(f"{said}, {len(differing)} difference{'s' * (len(differing) != 1)}")
    if differing:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Order:
    """How the slides of a call are scored."""

    out: Path
    model: Model
    mpp: float | None
    measures: Measures
    rule: Rule | None


def _pool(model: Model, processes: int | None, cluster: str | None, tls: Path | None) -> Pool:
    if cluster is None:
        region = model.dense_pass.region if model.dense_pass else None
        return Pool(model.data, processes or len(os.sched_getaffinity(0)), region)
    if find_spec("distributed") is None:
        raise ValueError(f"--cluster needs Dask: {installing('cluster')}")
    from slides.cluster import Cluster

    return Cluster(model.data, cluster, tls)


class _Outcome(Enum):
    """``DAMAGED``: it was scored, but too many of its cells could not be read."""

    SCORED = auto()
    DAMAGED = auto()
    FAILED = auto()


def _scored(path: Path, order: _Order, pool: Pool, bar: Progress) -> _Outcome:
    """Score one slide."""
    task = bar.add_task(path.name, total=None)

    def say(text: str) -> None:
        bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    heard = Heard(say, lambda cells: bar.update(task, total=cells), lambda cells: bar.advance(task, cells))
    try:
        with open_slide(path, order.model.manifest, order.mpp) as opened:
            model, measures = order.model, order.measures
            folder, cells = score_slide(opened.reader.path, order.out, opened, model, measures, pool, heard, order.rule)
        say(f"{path.name}: {_counted(cells)}; {folder}")
        if (scope := read_runfile(folder).scope) is not None and scope.verdict != "in_scope":
            say(f"{path.name}: {scope.text}")
    except (ValueError, OSError, MemoryError) as error:
        say(f"rosette: {path}: {str(error) or type(error).__name__}")
        return _Outcome.FAILED
    finally:
        bar.remove_task(task)
    missing = unread(cells)
    if missing is None:
        return _Outcome.SCORED
    again = f"To score the same file again, delete {folder} first."
    say(f"rosette: warning: {path.name}: {missing.text} {again}")
    return _Outcome.DAMAGED if missing.many else _Outcome.SCORED


def _counted(cells: Cells) -> str:
    names = {State.SCORED: "scored", State.GLASS: "glass", State.NOT_ASSESSABLE: "not assessable", State.HOLE: "holes"}
    return ", ".join(f"{int(cells.where(state).sum())} {name}" for state, name in names.items())


def _bar() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), redirect_stdout=False)


def _check_installed() -> None:
    if find_spec("openslide") is None:
        typer.echo(f"rosette: slides are read with the packages of the extra slides: {installing('slides')}", err=True)
        raise typer.Exit(2)
