"""The command ``rosette study``: experiments from a plan to tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_zoo.listing import AsJson, show, show_json
from training.commands import Data, RunFolder
from training.study.options import CORES, RESULTS, RUNS, Out, Runs, Tested, Tier, Tiered, Training, budget_of, taking

study = typer.Typer(
    help="Compare networks and quantizations under one budget, and write tables and plots.", no_args_is_help=True
)

PRECISIONS = {"int8": "INT8", "float32": "float32"}


@study.callback()
def _study() -> None:
    """Compare networks and quantizations under one budget, and write tables and plots."""


@study.command()
def plan(data: Data, tier: Tier = "cpu", runs: Runs = RUNS, as_json: AsJson = False) -> None:
    """Print the cost of each experiment, in patch-epochs and hours on this machine; train nothing."""
    from training.data import load
    from training.study.experiments import best_equivariant
    from training.study.plan import experiments
    from training.study.plan import plan as costs_of

    budget = budget_of(tier)
    best = best_equivariant(budget, runs, load(data, "valid"))
    costs = costs_of(experiments(budget, best), runs, len(load(data, "train")))
    if as_json:
        show_json(costs)
        return
    rows = [
        (cost.experiment, str(cost.networks), str(cost.todo), f"{cost.patch_epochs:,}", f"{cost.hours:.1f}")
        for cost in costs
    ]
    total = sum(cost.hours for cost in costs)
    rows.append(("all", "", "", f"{sum(cost.patch_epochs for cost in costs):,}", f"{total:.1f}"))
    show(("experiment", "networks", "to train", "patch-epochs", "hours"), rows, title=f"tier {tier}: {budget}")
    typer.echo("A network that two experiments share is counted in the first. Times are for one network at a time.")


@study.command()
@taking(Tested)
def grid(options: Tested) -> None:
    """Train and measure conventional and equivariant networks, INT8 and float32, under one budget."""
    from training.data import load
    from training.study import cells, experiments

    data, runs = options.data, options.runs
    if options.training:
        with options.workers() as pool:
            options.train(cells.grid(options.budget), pool)
            best = experiments.best_equivariant(options.budget, runs, load(data, "valid"))
            assert best is not None
            typer.echo(f"Best equivariant network on valid, INT8: {best}")
            options.train(cells.more_seeds(options.budget, best), pool)
    options.save("grid", experiments.grid(options.tier, runs, data, test=options.test))


@study.command()
@taking(Tested)
def efficiency(options: Tested) -> None:
    """Train the best equivariant network and the conventional one on fewer patches; run after the grid."""
    from training.data import load
    from training.study import cells, experiments

    data, runs = options.data, options.runs
    best = experiments.best_equivariant(options.budget, runs, load(data, "valid"))
    if best is None:
        raise typer.BadParameter(f"{runs} does not contain the whole grid: run `rosette study grid` first")
    options.train(cells.data_efficiency(options.budget, best))
    options.save("efficiency", experiments.data_efficiency(options.tier, runs, data, test=options.test))


@study.command()
@taking(Tiered)
def pareto(options: Tiered) -> None:
    """Train C12 networks of increasing cost and measure INT8 latency and validation AUC."""
    from training.study import cells, experiments

    options.train(cells.pareto(options.budget))
    options.save("pareto", experiments.pareto(options.tier, options.runs, options.data))


@study.command()
@taking(Training, jobs=1, threads=CORES)
def table1(
    options: Training,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each network; the paper trains for 300.")] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="Networks of each kind, each with another seed.")] = 3,
) -> None:
    """Train and test by the paper's protocol; for all 327,680 patches of PCam and GPUs."""
    from training.study import cells, experiments
    from training.study.report import table1_section

    planned = cells.table1(seeds, epochs)
    options.train(planned)
    document = experiments.table1(planned, options.runs, options.data)
    typer.echo("\n".join(table1_section(document)))
    options.save("table1", document)


@study.command()
@taking(Training)
def choices(
    options: Training,
    teacher: Annotated[
        Path, typer.Option(help="Artifact that teaches the networks.", exists=True, dir_okay=False, show_default=False)
    ],
    patches: Annotated[int, typer.Option(min=1, help="Training patches of each network, drawn by its seed.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each network.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Networks of each kind, each with another seed.")] = 3,
) -> None:
    """Compare shapes and ways of teaching with the small release's, on valid's choosing half."""
    from training.study import cells
    from training.study import choices as experiment

    planned = cells.choices(teacher, patches=patches, epochs=epochs, seeds=seeds)
    options.train(planned)
    options.save("choices", experiment.run(planned, options.runs, options.data))


@study.command()
def ablation(
    run: RunFolder,
    data: Data,
    out: Out = RESULTS,
    aimet_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with aimet-onnx, for its equalization as a reference.")
    ] = None,
) -> None:
    """Quantize one trained network with every variant of the ablation, and measure each on valid."""
    from training.data import load
    from training.study import ablation as experiment
    from training.study.aimet_reference import AimetError
    from training.study.results import save
    from training.weights import fitted_network

    try:
        document = experiment.run(fitted_network(run), load(data, "train"), load(data, "valid"), aimet_python)
    except AimetError as error:
        raise typer.BadParameter(str(error), param_hint="--aimet-python") from error
    typer.echo(f"Wrote {save(out, 'ablation', document)}")


@study.command()
def cpus(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of quantized networks.", metavar="RUN...")],
    out: Out = RESULTS,
) -> None:
    """Replay the golden cases on emulated CPUs, with weights within 64 and 127; needs qemu-user."""
    from training.study import cpus as experiment
    from training.study.measure import within_bounds
    from training.study.results import save

    graphs = {label: graph for run in runs for label, graph in within_bounds(run).items()}
    typer.echo(f"Wrote {save(out, 'cpus', experiment.run(graphs))}")


@study.command()
def robustness(
    artifacts: Annotated[
        list[Path], typer.Argument(help="Artifacts, INT8 and float32.", exists=True, dir_okay=False, metavar="FILE...")
    ],
    data: Data,
    out: Out = RESULTS,
    test: Annotated[bool, typer.Option("--test", help="Shift and turn test patches instead of valid's.")] = False,
    slide: Annotated[
        Path | None, typer.Option(help="Slide of other tissue whose tiles are classified.", exists=True)
    ] = None,
) -> None:
    """Measure the effect of encodings, colour, blur, shifts and turns on artifacts' answers."""
    from model_zoo.network import Network
    from training.study import robustness as experiment
    from training.study.results import save

    opened = [Network(file.read_bytes()) for file in artifacts]
    several = len({network.manifest.name for network in opened}) > 1
    names = [
        f"{network.manifest.name + ' ' if several else ''}{PRECISIONS[network.manifest.precision]}"
        for network in opened
    ]
    if len(set(names)) < len(names):
        raise typer.BadParameter("name one artifact of each name and precision")
    networks = dict(zip(names, opened, strict=True))
    document = experiment.run(networks, data, split="test" if test else "valid", slide=slide)
    typer.echo(f"Wrote {save(out, 'robustness', document)}")


@study.command()
def anchors(
    networks: Annotated[
        list[Path],
        typer.Argument(
            help="Artifacts, and expanded P4M-DenseNets (*.npz).", exists=True, dir_okay=False, metavar="FILE..."
        ),
    ],
    data: Data,
    out: Out = RESULTS,
    test: Annotated[bool, typer.Option("--test", help="Also read the test split; only for a published table.")] = False,
) -> None:
    """Measure released artifacts, on both bases, and their teachers."""
    from training.study import anchors as experiment
    from training.study.results import save

    typer.echo(f"Wrote {save(out, 'anchors', experiment.run(networks, data, read_test=test))}")


@study.command()
def consistency(
    networks: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, float32 artifacts (*.fp32.onnx), and expanded P4M-DenseNets (*.npz).",
            exists=True,
            metavar="NETWORK...",
        ),
    ],
    data: Data,
    out: Out = RESULTS,
    norm_patches: Annotated[
        int,
        typer.Option(
            min=0,
            help="Also measure each with batch norm estimated again on so many patches, unless its fit did so.",
        ),
    ] = 0,
) -> None:
    """Measure float networks on valid, and how far small shifts and JPEG change their answers."""
    from training.data import DataError
    from training.study import consistency as experiment
    from training.study.results import save

    try:
        document = experiment.run(networks, data, norm_patches)
    except (DataError, ValueError, FileNotFoundError) as error:
        typer.secho(f"rosette study: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    typer.echo(f"Wrote {save(out, 'consistency', document)}")


@study.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder with the JSON files of results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="Page to write; its plots go to a folder beside it.")] = Path(
        "docs/results.md"
    ),
) -> None:
    """Write docs/results.md and its plots from the JSON files."""
    from training.study.report import write

    for file in write(results, page):
        typer.echo(f"Wrote {file}")
