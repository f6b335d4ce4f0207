"""The commands ``rosette models`` and ``rosette demo-patch``."""

from __future__ import annotations

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
    reports = [_verify_file(path) for path in map(_named, files)]
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@models.command("show")
def show_files(files: _Files) -> None:
    """Print the manifests of artifacts and a table of their figures, in Markdown."""
    manifests = {path.name: _manifest_of(path) for path in map(_named, files)}
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


def _named(path: Path) -> Path:
    try:
        file = artifact_file(path)
        with file.open("rb"):
            return file
    except (ModelError, OSError) as error:
        raise typer.BadParameter(f"{path}: {error}") from error


def _manifest_of(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_BYTES + 1))[1]
    except ArtifactError as error:
        raise typer.BadParameter(f"{path} is not an artifact: {error}") from error


def _verify_file(path: Path) -> Report:
    with path.open("rb") as file:
        report = verify(file.read(MAX_BYTES + 1))
    typer.echo(path)
    for step in report.steps:
        mark = "ok    " if step.passed else "FAILED"
        typer.echo(f"  {mark}  {step.name:<16}  {step.milliseconds:7.1f} ms  {step.detail}")
    failed = sum(not step.passed for step in report.steps)
    typer.echo(f"  {failed} of {len(report.steps)} checks failed" if failed else "  verified")
    return report
