"""``rosette slide regions`` and ``rosette slide export``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from model_zoo.extras import installing
from model_zoo.listing import AsJson, show, show_json
from slides.products import EXPORT_FILES, Format, Map, write
from slides.regions import Deviation, Region, Rule
from slides.runfile import write_atomically

commands = typer.Typer(no_args_is_help=True)


class Target(StrEnum):
    """The formats of single files, and DICOM."""

    CSV = Format.CSV.value
    QUPATH = Format.QUPATH.value
    PNG = Format.PNG.value
    DICOM = "dicom"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a complete run.")]
Prevalence = Annotated[float, typer.Option(help="Share of the slide's cells that hold metastasis, between 0 and 1.")]
MinArea = Annotated[float, typer.Option(help="Smallest region in mm².")]
High = Annotated[float, typer.Option(help="Probability that a region reaches somewhere.")]
Low = Annotated[float, typer.Option(help="Probability that every cell of a region reaches.")]
_DEFAULT = Rule()


@commands.command()
def regions(
    folder: Folder,
    prevalence: Prevalence = _DEFAULT.prevalence,
    min_area: MinArea = _DEFAULT.min_area_mm2,
    high: High = _DEFAULT.high,
    low: Low = _DEFAULT.low,
    as_json: AsJson = False,
) -> None:
    """Find regions again by another rule; rewrites regions.geojson, heatmap.png and report.html."""
    with readable_errors():
        made = write(folder, rule_of(prevalence, min_area, high, low))
    _warn(made)
    if as_json:
        show_json([_figures(region) for region in made.regions])
        return
    if not made.regions:
        typer.echo("No region. This does not say that the slide holds no metastasis.")
        return
    names = ("region", "mm²", "cells", "mean", "largest", "turns", "shifts", "not judged")
    rows = [
        (
            str(region.number),
            f"{region.area_mm2:.3f}",
            str(len(region.rows)),
            f"{region.mean_moved:.3f}",
            f"{region.largest_moved:.3f}",
            _deviation(region.turns),
            _deviation(region.shifts),
            f"{region.not_judged_inside} inside, {region.not_judged_beside} beside",
        )
        for region in made.regions
    ]
    show(names, rows, title=f"{made.run.slide.name} at prevalence {prevalence:g}")


@commands.command()
def export(
    folder: Folder,
    to: Annotated[
        Target,
        typer.Option(
            help="csv: WSInfer's columns. qupath: GeoJSON. png: the map with a legend. "
            "dicom: a Parametric Map and a Structured Report."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write, or for dicom the folder; by default in the run's folder."),
    ] = None,
    tiles: Annotated[bool, typer.Option("--tiles", help="For qupath: every judged cell instead of regions.")] = False,
    source: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For dicom: the DICOM slide, if the scored slide is of another format."),
    ] = None,
    prevalence: Prevalence = _DEFAULT.prevalence,
    min_area: MinArea = _DEFAULT.min_area_mm2,
    high: High = _DEFAULT.high,
    low: Low = _DEFAULT.low,
) -> None:
    """Write a run in the format of another program."""
    if tiles and to is not Target.QUPATH:
        raise typer.BadParameter("only --to qupath knows tiles", param_hint="--tiles")
    if source and to is not Target.DICOM:
        raise typer.BadParameter("only --to dicom needs the DICOM slide", param_hint="--source")
    with readable_errors():
        made = Map.read(folder, rule_of(prevalence, min_area, high, low))
        if to is Target.DICOM:
            files = _dicom(made, folder, source)
            paths = {(out or folder) / name: content for name, content in files.items()}
        else:
            form = Format(to.value)
            paths = {out or folder / EXPORT_FILES[form]: made.export(form, tiles=tiles)}
        for path, content in paths.items():
            write_atomically(path, content)
    _warn(made)
    for path in paths:
        typer.echo(f"Wrote {path}")


def _dicom(made: Map, folder: Path, source: Path | None) -> dict[str, bytes]:
    if find_spec("highdicom") is None:
        raise ValueError(f"--to dicom needs highdicom: {installing('slides,dicom')}")
    from slides.export.dicom import checked_source, dicom_files  # only this needs the extra

    found = checked_source(folder, made.run, made.cells, source)
    return dicom_files(found, made.run, made.cells, made.regions, made.rule)


def _warn(made: Map) -> None:
    scope = made.run.scope
    if scope is not None and scope.verdict != "in_scope":
        typer.echo(f"Scope: {scope.text}", err=True)


def rule_of(prevalence: float, min_area: float, high: float, low: float) -> Rule:
    return Rule(prevalence=prevalence, min_area_mm2=min_area, high=high, low=low)


def _figures(region: Region) -> dict[str, object]:
    return {
        "number": region.number,
        "area_mm2": region.area_mm2,
        "cells": len(region.rows),
        "mean": region.mean_moved,
        "largest": region.largest_moved,
        "turns": region.turns.largest,
        "shifts": region.shifts.largest,
        "not_judged_inside": region.not_judged_inside,
        "not_judged_beside": region.not_judged_beside,
    }


def _deviation(deviation: Deviation) -> str:
    return "not measured" if deviation.largest is None else f"{deviation.largest:.3f}"


@contextmanager
def readable_errors(about: str = "", code: int = 1) -> Iterator[None]:
    """What a person can mend is said in a sentence that begins with ``about``; the command ends with ``code``."""
    try:
        yield
    except ValidationError as error:
        message = "; ".join(map(_fault, error.errors()))
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        return
    typer.echo(f"rosette: {about}{message}", err=True)
    raise typer.Exit(code)


def _fault(error: ErrorDetails) -> str:
    field = " ".join(map(str, error["loc"]))
    return f"{field} is {error['input']}: {error['msg'].lower()}" if field else error["msg"]
