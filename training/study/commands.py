"""The command ``rosette study``: experiments from a plan to tables and plots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_zoo.listing import AsJson, show, show_json
from training.commands import Data, RunFolder

if TYPE_CHECKING:
    from training.study.cells import Cell

study = typer.Typer(
    help="Compare networks and quantizations under one budget, and write tables and plots.", no_args_is_help=True
)

TIERS = ("cpu", "gpu")
Tier = Annotated[str, typer.Option(help="Budget: cpu (the fast topology) or gpu (the accurate one, longer).")]
Runs = Annotated[Path, typer.Option(help="Folder for trained networks, each named by the hash of its settings.")]
Out = Annotated[Path, typer.Option(help="Folder for the JSON files of results.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of networks trained in parallel.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads per network.")]
Train = Annotated[bool, typer.Option(help="Train missing networks; with --no-train they are shown as not run.")]
Test = Annotated[bool, typer.Option(help="Also measure on test; only for a published table.")]
PRECISIONS = {"int8": "INT8", "float32": "float32"}
RUNS, RESULTS, CORES = Path("runs/study"), Path("docs/results"), os.cpu_count() or 1


@study.callback()
def _study() -> None:
    """Compare networks and quantizations under one budget, and write tables and plots."""


@study.command()
def plan(data: Data, tier: Tier = "cpu", runs: Runs = RUNS, as_json: AsJson = False) -> None:
    """Print the cost of each experiment, in patch-epochs and hours on this machine; train nothing."""
    from training.data import load
    from training.study import cells
    from training.study.experiments import best_equivariant
    from training.study.plan import experiments
    from training.study.plan import plan as costs_of

    budget = cells.TIERS[_known(tier)]
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
def grid(
    data: Data,
    tier: Tier = "cpu",
    runs: Runs = RUNS,
    out: Out = RESULTS,
    jobs: Jobs = CORES,
    threads: Threads = 1,
    train: Train = True,
    test: Test = False,
) -> None:
    """Train and measure conventional and equivariant networks, INT8 and float32, under one budget."""
    from training.data import load
    from training.study import cells, experiments
    from training.study.results import save

    budget = cells.TIERS[_known(tier)]
    if train:
        _train(cells.grid(budget), data, runs, jobs, threads)
        best = experiments.best_equivariant(budget, runs, load(data, "valid"))
        assert best is not None
        typer.echo(f"Best equivariant network on valid, INT8: {best}")
        _train(cells.more_seeds(budget, best), data, runs, jobs, threads)
    typer.echo(f"Wrote {save(out, 'grid', experiments.grid(tier, runs, data, test=test))}")


@study.command()
def efficiency(
    data: Data,
    tier: Tier = "cpu",
    runs: Runs = RUNS,
    out: Out = RESULTS,
    jobs: Jobs = CORES,
    threads: Threads = 1,
    train: Train = True,
    test: Test = False,
) -> None:
    """Train the best equivariant network and the conventional one on fewer patches; run after the grid."""
    from training.data import load
    from training.study import cells, experiments
    from training.study.results import save

    budget = cells.TIERS[_known(tier)]
    best = experiments.best_equivariant(budget, runs, load(data, "valid"))
    if best is None:
        raise typer.BadParameter(f"{runs} does not contain the whole grid: run `rosette study grid` first")
    if train:
        _train(cells.data_efficiency(budget, best), data, runs, jobs, threads)
    typer.echo(f"Wrote {save(out, 'efficiency', experiments.data_efficiency(tier, runs, data, test=test))}")


@study.command()
def pareto(
    data: Data,
    tier: Tier = "cpu",
    runs: Runs = RUNS,
    out: Out = RESULTS,
    jobs: Jobs = CORES,
    threads: Threads = 1,
    train: Train = True,
) -> None:
    """Train C12 networks of increasing cost and measure INT8 latency and validation AUC."""
    from training.study import cells, experiments
    from training.study.results import save

    planned = cells.pareto(cells.TIERS[_known(tier)])
    if train:
        _train(planned, data, runs, jobs, threads)
    typer.echo(f"Wrote {save(out, 'pareto', experiments.pareto(tier, runs, data))}")


@study.command()
def table1(
    data: Data,
    runs: Runs = RUNS,
    out: Out = RESULTS,
    epochs: Annotated[int, typer.Option(min=1, help="The paper's are 300.")] = 300,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    jobs: Jobs = 1,
    threads: Threads = CORES,
) -> None:
    """Train and test by the paper's protocol; for all 327,680 patches of PCam and GPUs."""
    from training.study import cells, experiments
    from training.study.report import table1_section
    from training.study.results import save

    planned = cells.table1(seeds, epochs)
    _train(planned, data, runs, jobs, threads)
    document = experiments.table1(planned, runs, data)
    typer.echo("\n".join(table1_section(document)))
    typer.echo(f"Wrote {save(out, 'table1', document)}")


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


def _known(tier: str) -> str:
    if tier not in TIERS:
        raise typer.BadParameter(f"{tier!r} is not one of {', '.join(TIERS)}", param_hint="--tier")
    return tier


def _train(planned: Sequence[Cell], data: Path, runs: Path, jobs: int, threads: int) -> None:
    from training.data import DataError
    from training.study.runner import run

    try:
        run(planned, data, runs, jobs=jobs, threads=threads, tell=typer.echo)
    except (DataError, ValueError) as error:
        typer.secho(f"rosette study: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
