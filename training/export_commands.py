"""The commands ``rosette export``: artifacts for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(help="Write a float artifact for another program.", no_args_is_help=True)


@export.callback()
def _export() -> None:
    """Write a float artifact for another program."""


@export.command()
def wsinfer(
    artifact: Annotated[
        Path, typer.Argument(metavar="FILE.fp32.onnx", help="A float32 artifact.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; is created.")],
) -> None:
    """Write TorchScript, config.json and a card for WSInfer and QuPath's WSInfer extension."""
    from model_zoo.artifact import ArtifactError
    from training.recover import RecoveryError
    from training.wsinfer import export as write

    try:
        files = write(artifact, out)
    except (ArtifactError, RecoveryError) as error:
        typer.secho(f"rosette export wsinfer: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    typer.echo("\n".join(f"Wrote {file}" for file in files))
