"""The researcher's commands: train, quantize, evaluate, publish."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from model_zoo.manifest import Manifest
from model_zoo.symmetry import Group
from training.data import DataError, SplitName, load_to_fit
from training.recipe import Distillation, Recipe
from training.topologies import DENSENET, TOPOLOGIES
from training.topology import P4M, DenseNetTopology, Topology

Data = Annotated[
    Path,
    typer.Option(envvar="ROSETTE_DATA", help="Folder with patches in one of the layouts of docs/training.md."),
]
SPLITS: dict[str, SplitName] = {"train": "train", "valid": "valid", "test": "test"}
RunFolder = Annotated[Path, typer.Argument(help="Run folder: checkpoints, settings, learning curve.")]


def train(
    run: RunFolder,
    data: Data,
    group: Annotated[
        str | None,
        typer.Option(help=f"C1 (conventional), C2 … C99 or D1 … D99. [default: C12; {DENSENET} has D4]"),
    ] = None,
    topology: Annotated[str, typer.Option(help=f"One of {', '.join((*TOPOLOGIES, DENSENET))}.")] = "accurate",
    free_filters: Annotated[bool, typer.Option(help="Nine-dimensional 3×3 filters, for groups within D4.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch_size: Annotated[int, typer.Option(min=2, help="Patches per step and process.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 1e-2,
    weight_decay: float = 0.05,
    augment: Annotated[bool, typer.Option(help="Quarter turns, reflections, stain jitter, focus.")] = True,
    stain_jitter: Annotated[float, typer.Option(min=0, help="Strength of the stain jitter.")] = 0.2,
    refocus: Annotated[float, typer.Option(min=0, help="Strength of random blur and sharpening.")] = 0.0,
    averaged: Annotated[float, typer.Option(min=0, max=1, help="Share of the steps for averaging weights.")] = 0.05,
    patches: Annotated[int, typer.Option(min=0, help="Training patches to use, 0 for all.")] = 0,
    seed: int = 0,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Allow train to contain a patch twice with the same label.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights: a run folder, a float32 artifact (*.fp32.onnx), or an expanded "
            "P4M-DenseNet (*.npz).",
            exists=True,
        ),
    ] = None,
    schedule: Annotated[str, typer.Option(help="one-cycle; or, in segments, constant and then decay.")] = "one-cycle",
    shift_px: Annotated[int, typer.Option(min=0, max=16, help="Largest random shift in pixels.")] = 0,
    zoom: Annotated[float, typer.Option(min=0, max=0.5, help="Largest random change of the scale.")] = 0.0,
    jpeg: Annotated[float, typer.Option(min=0, max=1, help="Share of the patches re-encoded as JPEG.")] = 0.0,
    consistency: Annotated[
        float, typer.Option(min=0, help="Weight of equal answers to shifted and re-encoded twins; 0: none.")
    ] = 0.0,
    norm_patches: Annotated[
        int,
        typer.Option(
            min=0, help="Patches, as they are, for the final statistics of batch norm; 0: keep the running ones."
        ),
    ] = 3200,
    precision: Annotated[str, typer.Option(help="bf16-mixed, 32-true, or auto for the faster one here.")] = "auto",
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="Teacher: an artifact or an expanded P4M-DenseNet; may be repeated.", exists=True),
    ] = None,
    views: Annotated[str, typer.Option(help="Numbers of the views for teachers; 0 is the patch itself.")] = "1,2",
    teacher_weight: Annotated[float, typer.Option(min=0, max=1, help="Weight of the teachers, from 0 to 1.")] = 0.7,
    teacher_temperature: Annotated[float, typer.Option(min=0.1, max=20, help="Softens the teachers' answers.")] = 1.0,
    accelerator: Annotated[str, typer.Option(help="auto uses a GPU if there is one.")] = "auto",
    devices: Annotated[str, typer.Option(help="Devices per node: a number, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(help="Number of machines; start the command on each.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's strategy, such as ddp.")] = "auto",
) -> None:
    """Train a network; the same command continues a killed run."""
    try:
        shape = _shape(topology, group, free_filters)
        taught = Distillation(_numbers(views), teacher_weight, teacher_temperature) if teacher else None
        settings = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "augment": augment,
            "stain_jitter": stain_jitter,
            "refocus": refocus,
            "averaged": averaged,
            "patches": patches,
            "seed": seed,
            "schedule": schedule,
            "shift_px": shift_px,
            "zoom": zoom,
            "jpeg": jpeg,
            "consistency": consistency,
            "norm_patches": norm_patches,
            "precision": precision,
            "distillation": taught,
        }
        recipe = TypeAdapter(Recipe).validate_python(settings)
        trainer: dict[str, Any] = {
            "accelerator": accelerator,
            "devices": devices,
            "num_nodes": nodes,
            "strategy": strategy,
            "enable_progress_bar": sys.stdout.isatty(),
            "enable_model_summary": False,
        }
        found = load_to_fit(data, allow_duplicates=allow_duplicates)
        # Imported once settings and data are known to be right: Lightning takes five seconds of processor time.
        from training.checkpoints import CheckpointError, require_best
        from training.fit import Material, fit
        from training.progress import Progress, loggers, without_noise

        without_noise()
        material = Material.of(*found)
        logs, followers = loggers(run), [Progress(run)]
        for note in material.train.notes:
            typer.echo(f"Note: {note}", err=True)
        fit(material, run, shape, recipe, start, teacher or (), logs, followers, **trainer)
    except (DataError, ValueError, FileNotFoundError) as error:
        typer.secho(f"rosette train: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    try:
        best = require_best(run)
    except CheckpointError as error:
        typer.secho(f"rosette train: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
    following = "evaluate" if topology == DENSENET else "quantize"
    typer.echo(f"Lowest validation loss: {best}\nNext: rosette {following} {run} --data {data}")


def _shape(topology: str, group: str | None, free_filters: bool) -> Topology | DenseNetTopology:
    """The network's shape.

    Raises:
        ValueError: if there is no such group.
    """
    if topology == DENSENET:
        if group not in (None, P4M.group) or free_filters:
            raise typer.BadParameter(f"{DENSENET} has the group {P4M.group} and no other filters", param_hint="--group")
        return P4M
    if topology not in TOPOLOGIES:
        known = ", ".join((*TOPOLOGIES, DENSENET))
        raise typer.BadParameter(f"{topology!r} is not one of {known}", param_hint="--topology")
    group = group or "C12"
    Group.parse(group)
    return replace(TOPOLOGIES[topology], group=group, free_filters=free_filters)


def _numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas."""
    try:
        numbers = tuple(int(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers such as 0,1,2", param_hint="--views")
    return numbers


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


def evaluate(
    artifact: Annotated[
        Path, typer.Argument(help="An artifact, INT8 or float32; or a run folder, for its float weights.", exists=True)
    ],
    data: Data,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    output: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Measure an artifact or a run on a split, every figure with its 95 % interval."""
    from model_zoo.artifact import ArtifactError
    from model_zoo.summary import methods
    from training.data import load
    from training.evaluate import EvaluationError, opened
    from training.evaluate import evaluate as evaluate_subject

    if split not in SPLITS:
        raise typer.BadParameter(f"{split!r} is not one of {', '.join(SPLITS)}", param_hint="--split")
    try:
        subject = opened(artifact)
        patches = load(data, SPLITS[split])
        for note in patches.notes:
            typer.echo(f"Note: {note}", err=True)
        evaluation = evaluate_subject(subject, patches, SPLITS[split])
    except (ArtifactError, DataError, EvaluationError) as error:
        typer.secho(f"rosette evaluate: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    exactness = evaluation.exactness
    typer.echo(f"{subject.name} on {evaluation.data}")
    for figure in evaluation.metrics:
        typer.echo(
            f"{figure.basis:7} {figure.name:32} {figure.value:.4f}  [{figure.low:.4f}, {figure.high:.4f}]  "
            f"n = {figure.n}"
        )
    typer.echo(f"95 % intervals: {methods(evaluation.metrics)}")
    typer.echo(
        f"{exactness.subgroup}: {exactness.equal} of {exactness.patches} patches give equal bits for every turn; "
        f"largest difference of a logit {exactness.largest_delta:.3g}"
    )
    if output is not None:
        output.write_text(json.dumps(evaluation.document(), indent=2) + "\n")


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
        Path | None, typer.Option(help="The artifact in service; by default the shipped one.", exists=True)
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
