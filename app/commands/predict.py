"""``rosette predict``: classify files or folders without a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.errors import readable_errors
from app.commands.results import Result, write_csv, write_json, write_table
from app.diagnosis.engine import Engine
from app.diagnosis.report import NewAnswer
from app.diagnosis.scale import Mpp, parse_mpp
from app.problems import BodyTooLarge, EmptyBody, Problem
from app.settings import Settings
from model_zoo.notice import NOTICE
from model_zoo.occlusion import Occlusion
from model_zoo.opening import shipped_artifacts
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts


class Style(StrEnum):
    """Output format."""

    JSON = "json"
    TABLE = "table"
    CSV = "csv"


_IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_WRITERS = {Style.JSON: write_json, Style.TABLE: write_table, Style.CSV: write_csv}


def stated_mpp(text: str | None) -> Mpp:
    try:
        return None if text is None else parse_mpp(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _not_an_image(output: Path | None) -> Path | None:
    if output is not None and output.suffix.lower() in _IMAGES:
        raise typer.BadParameter(f"{output} is the name of an image, which would be overwritten: choose another name")
    return output


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or TIFF patches of 96×96 pixels, or folders of them.")
    ],
    rotations: Annotated[Rotations, typer.Option(help="Turns to measure.")] = Rotations.FULL,
    shifts: Annotated[Shifts, typer.Option(help="Whether to measure eight offsets of 4 px, too.")] = Shifts.NONE,
    occlusion: Annotated[
        Occlusion, typer.Option(help="Whether to cover each of 36 squares, too; only in JSON.")
    ] = Occlusion.NONE,
    mpp: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|ignore",
            help="The patches' microns per pixel, which counts in place of what the files state; or ignore: the scale "
            "is not checked.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|NAME",
            help="The artifact, or the name of a shipped one, such as balanced; by default that of "
            "ROSETTE_MODEL, else accurate.",
        ),
    ] = None,
    as_json: Annotated[
        bool | None, typer.Option("--json/--table", help="JSON Lines, the default unless in a terminal, or a table.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, the default for folders.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(callback=_not_an_image, help="The file to write to, in place of standard output."),
    ] = None,
) -> None:
    """Classify patches without a server; nothing is recorded.

    A folder is read recursively, in the order of names, without hidden files. A file that is refused gets a row with
    its problem.

    Exits with 0 if every file was answered, with 1 if a file was refused or the command failed, with 2 if the command
    line is invalid.
    """
    stated = stated_mpp(mpp)
    with readable_errors():
        settings = Settings()
        engine = Engine.load(model or settings.model or shipped_artifacts()[0])
        files = list(_files(images, output))
    style = _style(as_json, as_csv, images)
    answer = partial(
        engine.answer,
        rotations=rotations,
        prevalence=settings.prevalence,
        shifts=shifts,
        mpp=stated,
        occlusion=occlusion,
    )
    refused = 0

    def results() -> Iterator[Result]:
        nonlocal refused
        for file in files:
            result = _result(file, settings.max_body_bytes, answer)
            refused += result.answer is None
            if result.answer is None and style is not Style.CSV:
                typer.echo(f"{result.file}: {result.problem['detail']}", err=True)
            yield result

    with readable_errors(), _opened(output) as out:
        _WRITERS[style](_with_progress(results(), len(files), out), out)
    if style is Style.TABLE:
        typer.echo(f"Model {engine.manifest.name} {engine.manifest.version}. {NOTICE}")
    elif style is Style.CSV:
        typer.echo(f"Files answered: {len(files) - refused} of {len(files)}, refused: {refused}.", err=True)
    if refused:
        raise typer.Exit(1)


def _style(as_json: bool | None, as_csv: bool, images: list[Path]) -> Style:
    if as_csv or (as_json is None and any(image.is_dir() for image in images)):
        return Style.CSV
    if as_json is None:
        as_json = not sys.stdout.isatty()
    return Style.JSON if as_json else Style.TABLE


def _files(images: list[Path], output: Path | None) -> Iterator[Path]:
    """The files to read: the given files, and the files of folders that are not hidden, in the order of names.

    Raises:
        ValueError: if a folder contains none.
    """
    for image in images:
        if not image.is_dir():
            yield image
            continue
        found = [
            Path(folder, name)
            for folder, name in _walk(image)
            if output is None or not output.exists() or not output.samefile(Path(folder, name))
        ]
        if not found:
            raise ValueError(f"the folder {_shown(image)} contains no files")
        yield from found


def _walk(top: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of each regular file that is not hidden; macOS and editors create hidden ones."""
    for folder, folders, names in os.walk(top, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(folder, name).is_file():
                yield folder, name


def _raise(error: OSError) -> None:
    raise error


def _result(file: Path, max_bytes: int, answer: Callable[[bytes], NewAnswer]) -> Result:
    shown = _shown(file)
    try:
        return Result(shown, answer(_read(file, max_bytes)), {})
    except Problem as problem:
        return Result(shown, None, problem.body())
    except OSError as error:
        return Result(shown, None, {"title": "unreadable", "detail": str(error)})


def _read(file: Path, max_bytes: int) -> bytes:
    """A file's bytes, limited to the size of a request.

    Raises:
        BodyTooLarge: if it has more than ``max_bytes``.
        EmptyBody: if it is empty.
    """
    size = file.stat().st_size
    if size > max_bytes:
        raise BodyTooLarge(f"The file has {size} bytes, expected at most {max_bytes}: cut it into patches.")
    data = file.read_bytes()
    if not data:
        raise EmptyBody("The file is empty.")
    return data


def _shown(file: Path) -> str:
    """A path as printable text; file names need not be UTF-8."""
    return os.fsencode(file).decode(errors="replace")


def _opened(output: Path | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if output is None else output.open("w", newline="", encoding="utf-8")


def _with_progress(results: Iterable[Result], total: int, out: TextIO) -> Iterator[Result]:
    """The results, with a progress bar on standard error if that is a terminal and the results go elsewhere."""
    columns = (TextColumn("patches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = total < 2 or not sys.stderr.isatty() or out.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=quiet, redirect_stdout=False) as progress:
        yield from progress.track(results, total=total)
