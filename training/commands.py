"""The commands of a run: train, average and evaluate."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

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
    topology: Annotated[str, typer.Option(help=f"One of {', '.join((*TOPOLOGIES, DENSENET))}.")] = "balanced",
    free_filters: Annotated[bool, typer.Option(help="Nine-dimensional 3×3 filters, for groups within D4.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch_size: Annotated[int, typer.Option(min=2, help="Patches per step and process.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the schedule.")] = 1e-2,
    weight_decay: float = 0.05,
    augment: Annotated[
        bool, typer.Option(help="Quarter turns, reflections and stain jitter, and what other options ask for.")
    ] = True,
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
    except (DataError, ValueError) as error:
        raise _refusal(error, 2) from error
    # Imported once settings and data are known to be right: Lightning takes five seconds of processor time.
    from training.checkpoints import CheckpointError, require_best
    from training.fit import Material, fit
    from training.progress import Progress, loggers, without_noise

    without_noise()
    try:
        material = Material.of(*found)
        logs, followers = loggers(run), [Progress(run)]
        for note in material.train.notes:
            typer.echo(f"Note: {note}", err=True)
        fit(material, run, shape, recipe, start, teacher or (), logs, followers, **trainer)
        best = require_best(run)
    except CheckpointError as error:
        raise _refusal(error, 1) from error
    except (DataError, ValueError, FileNotFoundError) as error:
        raise _refusal(error, 2) from error
    following = "evaluate" if topology == DENSENET else "quantize"
    typer.echo(f"Lowest validation loss: {best}\nNext: rosette {following} {run} --data {data}")


def _refusal(error: Exception, code: int) -> typer.Exit:
    typer.secho(f"rosette train: {error}", err=True, fg="red")
    return typer.Exit(code)


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


def average(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="The new run folder; must not exist.")],
    other: Annotated[
        Path | None,
        typer.Argument(
            help="Another network of this topology: a run folder, a float32 artifact (*.fp32.onnx), or an expanded "
            "P4M-DenseNet (*.npz). Without it, only the statistics of batch norm are estimated again.",
            exists=True,
        ),
    ] = None,
    weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the other network, from 0 to 1; by default 0.5.")
    ] = None,
    norm_patches: Annotated[
        int, typer.Option(min=2, help="Training patches, as they are, for the statistics of batch norm.")
    ] = 3200,
) -> None:
    """Average the weights of a run and of another network, such as its start; writes a run folder."""
    from training.averaging import average as average_networks
    from training.data import load
    from training.densenet import P4M

    if other is None and weight is not None:
        raise typer.BadParameter("it is the share of another network: name one, or omit it", param_hint="--weight")
    share = 0.5 if weight is None else weight
    try:
        made = average_networks(run, other, out, load(data, "train"), weight=share, norm_patches=norm_patches)
    except (DataError, ValueError, OSError) as error:
        typer.secho(f"rosette average: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    following = "evaluate" if made.topology == P4M else "quantize"
    typer.echo(f"Wrote {out}\nNext: rosette {following} {out} --data {data}")


def join(
    run: RunFolder,
    second: Annotated[
        Path, typer.Argument(help="Run folder of a P4M-DenseNet, or its expanded weights (*.npz).", exists=True)
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="The new run folder; must not exist.")],
    weight: Annotated[
        float, typer.Option(min=0.01, max=100, help="Weight of the second network; 1: both count equally.")
    ] = 1.0,
) -> None:
    """Join a run's network and a P4M-DenseNet, whose logits are averaged; writes a run folder."""
    from training.data import load
    from training.joining import join as join_networks

    try:
        join_networks(run, second, out, load(data, "train"), load(data, "valid"), weight=weight)
    except (DataError, ValueError, OSError) as error:
        typer.secho(f"rosette join: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    typer.echo(f"Wrote {out}\nNext: rosette quantize {out} --data {data} --no-absorb")


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
