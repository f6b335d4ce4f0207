"""The commands of a quantized network: quantize, publish, reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from model_zoo.manifest import Manifest
from training.commands import Data, RunFolder
from training.data import DataError


def quantize(
    run: RunFolder,
    data: Data,
    probes: Annotated[int, typer.Option(min=1, help="Validation patches on which each step is measured.")] = 256,
    absorb: Annotated[bool, typer.Option(help="Absorb high biases (approximate).")] = True,
) -> None:
    """Quantize a run's best weights without data; writes int8.onnx and fp32.onnx beside them."""
    from training.data import load
    from training.quantize.pipeline import QuantizationError
    from training.quantize.run import quantize_run
    from training.quantize.scheme import Scheme

    try:
        figures = quantize_run(run, load(data, "valid").images[:probes], Scheme(absorb=absorb))
    except (QuantizationError, DataError, ValueError, FileNotFoundError) as error:
        typer.secho(f"rosette quantize: {error}", err=True, fg="red")
        raise typer.Exit(1 if isinstance(error, QuantizationError) else 2) from error
    for name, value in asdict(figures).items():
        typer.echo(f"{name.replace('_', ' ')}: {value:.3g}")
    typer.echo(f"Wrote {run / 'int8.onnx'} and {run / 'fp32.onnx'}")


def publish(
    run: RunFolder,
    data: Data,
    name: Annotated[str, typer.Option(help="Such as c12-mobilenetv2.")],
    version: Annotated[str, typer.Option(help="Three numbers, such as 0.1.0.")],
    out: Annotated[Path, typer.Option(help="Folder for the artifacts and the card.")] = Path("model_zoo"),
    test: Annotated[bool, typer.Option(help="Also measure on test; only for a published table.")] = False,
    licence: Annotated[str, typer.Option(help="Licence of the training data.")] = "CC0-1.0",
    encoding: Annotated[str, typer.Option(help="Encoding of the training patches.")] = "JPEG, quality 75",
    hub: Annotated[
        Path | None,
        typer.Option("--hub-folder", help="Also write a model folder for the Hugging Face Hub; nothing is uploaded."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="The artifact to compare with; by default the shipped accurate.", exists=True)
    ] = None,
) -> None:
    """Calibrate, measure, verify and write a quantized run's artifacts and model card; prints the figures."""
    from model_zoo.artifact import ArtifactError, parse
    from model_zoo.comparison import described, warnings
    from model_zoo.opening import shipped_artifacts
    from training.hub import hub_folder
    from training.publish import PublishError, Release
    from training.publish import publish as publish_run

    _check("name", name)
    _check("version", version)
    out.mkdir(parents=True, exist_ok=True)
    try:
        before = parse((against or shipped_artifacts()[0]).read_bytes())[1]
        release = Release(name, version, licence, encoding)
        files = publish_run(run, release, data, out, read_test=test)
    except (ArtifactError, PublishError, DataError, FileNotFoundError) as error:
        typer.secho(f"rosette publish: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    metrics = parse(files[0].read_bytes())[1].metrics
    for metric in metrics:
        typer.echo(f"{described(metric)}, n = {metric.n}")
    for warning in warnings(metrics, before.metrics, f"{before.name} {before.version}"):
        typer.secho(f"Warning: {warning}", err=True, fg="yellow")
    typer.echo("\n".join(f"Wrote {file}" for file in files))
    if hub is not None:
        typer.echo(f"Wrote {hub_folder(*files, release.file(out, 'md'), hub)}")


def reference(
    artifact: Annotated[Path, typer.Argument(help="An artifact, INT8 or float32.", exists=True, dir_okay=False)],
    data: Data,
    version: Annotated[str, typer.Option(help="Version of the new artifact; three numbers.")],
    out: Annotated[Path, typer.Option(help="Folder for the new artifact.")] = Path("model_zoo"),
) -> None:
    """Add the reference for `rosette drift` to an older artifact; its graph does not change."""
    from model_zoo.artifact import ArtifactError, parse
    from training.publish import PublishError, with_reference

    _check("version", version)
    try:
        written = with_reference(artifact.read_bytes(), version, data)
    except (ArtifactError, PublishError, DataError) as error:
        typer.secho(f"rosette reference: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    manifest = parse(written)[1]
    file = out / f"{manifest.name}-{version}.{'int8' if manifest.precision == 'int8' else 'fp32'}.onnx"
    out.mkdir(parents=True, exist_ok=True)
    file.write_bytes(written)
    typer.echo(f"Wrote {file}")


def _check(field: str, value: str) -> None:
    """Check that a name or version is valid in a manifest."""
    try:
        TypeAdapter(Annotated[str, Manifest.model_fields[field]]).validate_python(value)
    except ValidationError as error:
        raise typer.BadParameter(f"{value!r}: {error.errors()[0]['msg']}", param_hint=f"--{field}") from error
