"""``rosette scope-reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.data import DataError


def scope_reference(
    data: Annotated[Path, typer.Option(envvar="ROSETTE_DATA", help="Folder with patches.")],
    artifact: Annotated[Path, typer.Option(help="Its quality reference is used.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="File for the reference.")] = Path("model_zoo/slide-scope.json"),
) -> None:
    """Bound what slides look like by training patches, and print how often valid patches are refused."""
    from model_zoo.artifact import ArtifactError, parse
    from training.data import load
    from training.slide_scope import as_json, false_alarms, fit, markdown, measured

    try:
        manifest = parse(artifact.read_bytes())[1]
        reference = fit(
            measured(load(data, "train"), manifest.quality), manifest.quality, manifest.training_data.source
        )
        rows = false_alarms(reference, measured(load(data, "valid"), manifest.quality))
    except (ArtifactError, DataError) as error:
        typer.secho(f"rosette scope-reference: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    out.write_text(as_json(reference))
    typer.echo(markdown(rows))
    typer.echo(f"Wrote {out}")
