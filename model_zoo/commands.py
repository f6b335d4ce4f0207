"""The commands ``rosette models`` and ``rosette demo-patch``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from model_zoo.artifact import ArtifactError, parse
from model_zoo.manifest import MAX_BYTES, Manifest
from model_zoo.opening import ModelError, artifact_file
from model_zoo.proof import Report
from model_zoo.summary import facts, metrics_table
from model_zoo.synthetic import Kind, synthetic_patch
from model_zoo.verify import verify

models = typer.Typer(help="Inspect model artifacts.", no_args_is_help=True)

_Files = Annotated[list[Path], typer.Argument(help="Files, or names of shipped artifacts.", metavar="FILE|NAME...")]


@models.callback()
def _models() -> None:
    """Inspect model artifacts."""


@models.command("verify")
def verify_files(files: _Files) -> None:
    """Verify artifacts, from their format to the bits of their answers; exit with 1 if a check fails."""
    reports = [_verify(path, data) for path, data in map(_read, files)]
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@models.command("show")
def show_files(files: _Files) -> None:
    """Print the manifests of artifacts and a table of their figures, in Markdown."""
    found = dict(map(_read, files))
    names = Counter(path.name for path in found)
    manifests = {path.name if names[path.name] == 1 else str(path): _manifest(path, found[path]) for path in found}
    for name, manifest in manifests.items():
        typer.echo("\n".join([f"## {name}", "", *facts(manifest), ""]))
    typer.echo("\n".join(metrics_table(manifests)))


def demo_patch(
    out: Annotated[Path, typer.Argument(dir_okay=False, writable=True, metavar="OUT.png")],
    kind: Annotated[Kind, typer.Option(help="Content of the patch.")] = "tumour",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the patch; equal seeds give equal patches.")] = 0,
) -> None:
    """Write a synthetic H&E-like patch as a 96×96 PNG, for a first try."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"the folder {str(out.parent)!r} does not exist: create it first")
    Image.fromarray(synthetic_patch(kind, seed)).save(out, format="PNG")


def _read(named: Path) -> tuple[Path, bytes]:
    """The file and its content, or as much as shows that it is too large."""
    try:
        path = artifact_file(named)
        with path.open("rb") as file:
            return path, file.read(MAX_BYTES + 1)
    except OSError as error:
        raise typer.BadParameter(f"{named} cannot be read: {error.strerror}") from error
    except ModelError as error:
        raise typer.BadParameter(f"{named}: {error}") from error


def _manifest(path: Path, data: bytes) -> Manifest:
    try:
        return parse(data)[1]
    except ArtifactError as error:
        raise typer.BadParameter(f"{path} is not an artifact: {error}") from error


def _verify(path: Path, data: bytes) -> Report:
    report = verify(data)
    typer.echo(path)
    for step in report.steps:
        mark = "ok    " if step.passed else "FAILED"
        typer.echo(f"  {mark}  {step.name:<16}  {step.milliseconds:7.1f} ms  {step.detail}")
    failed = sum(not step.passed for step in report.steps)
    typer.echo(f"  {failed} of {len(report.steps)} checks failed" if failed else "  verified")
    return report
