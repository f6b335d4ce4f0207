"""``rosette scope-reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.data import DataError

BLURS_PX = (0.0, 0.4, 0.6, 0.8)


def scope_reference(
    data: Annotated[Path, typer.Option(envvar="ROSETTE_DATA", help="Folder with patches.")],
    artifact: Annotated[Path, typer.Option(help="Its quality reference is used.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="File for the reference.")] = Path("model_zoo/slide-scope.json"),
) -> None:
    """Bound what slides look like by training patches, and print how often valid patches are refused."""
    from model_zoo.artifact import ArtifactError, parse
    from training.data import load
    from training.slide_scope import DRAWINGS, as_json, assessable, fit, markdown, refused

    try:
        quality = parse(artifact.read_bytes())[1].quality
        train, valid = load(data, "train"), load(data, "valid")
        reference = fit(assessable(train, quality), quality, train.source)
    except (ArtifactError, DataError) as error:
        typer.secho(f"rosette scope-reference: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    out.write_text(as_json(reference))
    rows = []
    for blur in BLURS_PX:
        measured = assessable(valid, quality, blur)
        for name, drawing in DRAWINGS.items():
            blurred = f", blurred by {blur:g} px" if blur else ""
            rows.append((f"valid, {name}{blurred}", refused(reference, measured, drawing)))
    typer.echo(markdown(reference, rows))
    typer.echo(f"Wrote {out}")
