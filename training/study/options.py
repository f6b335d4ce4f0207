"""Options that several commands of ``rosette study`` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from training.commands import Data

if TYPE_CHECKING:
    from concurrent.futures import Executor, ProcessPoolExecutor

    from training.study.cells import Cell
    from training.study.cells import Tier as Budget

TIERS = ("cpu", "gpu")
Tier = Annotated[str, typer.Option(help="Budget: cpu (the fast topology) or gpu (the balanced one, longer).")]
Runs = Annotated[Path, typer.Option(help="Folder for trained networks, each named by the hash of its settings.")]
Out = Annotated[Path, typer.Option(help="Folder for the JSON files of results.")]
RUNS, RESULTS, CORES = Path("runs/study"), Path("docs/results"), os.cpu_count() or 1

Options = TypeVar("Options")


@dataclass(frozen=True)
class Training:
    """Where networks are trained, on what, and where the results go."""

    data: Data
    runs: Runs = RUNS
    out: Out = RESULTS
    jobs: Annotated[int, typer.Option(min=1, help="Number of networks trained in parallel.")] = CORES
    threads: Annotated[int, typer.Option(min=1, help="Threads per network.")] = 1

    def workers(self) -> ProcessPoolExecutor:
        """Processes for several calls of :meth:`train`."""
        from training.study.runner import workers

        return workers(self.data, jobs=self.jobs, threads=self.threads)

    def train(self, planned: Sequence[Cell], pool: Executor | None = None) -> None:
        """Train the networks that are missing, in the processes of ``pool`` or in some of their own.

        Raises:
            typer.Exit: with status 2 if they cannot be trained.
        """
        from training.data import DataError
        from training.study.runner import run

        try:
            run(planned, self.data, self.runs, jobs=self.jobs, threads=self.threads, tell=typer.echo, pool=pool)
        except (DataError, ValueError) as error:
            typer.secho(f"rosette study: {error}", err=True, fg="red")
            raise typer.Exit(2) from error

    def save(self, name: str, document: dict[str, Any]) -> None:
        """Write the results, and say where."""
        from training.study.results import save

        typer.echo(f"Wrote {save(self.out, name, document)}")


@dataclass(frozen=True)
class Tiered(Training):
    """Networks of one budget, of which the missing ones are trained unless that is switched off."""

    tier: Tier = "cpu"
    training: Annotated[
        bool,
        typer.Option("--train/--no-train", help="Train missing networks; with --no-train they are shown as not run."),
    ] = True

    def __post_init__(self) -> None:
        budget_of(self.tier)

    @property
    def budget(self) -> Budget:
        return budget_of(self.tier)

    def train(self, planned: Sequence[Cell], pool: Executor | None = None) -> None:
        if self.training:
            super().train(planned, pool)


@dataclass(frozen=True)
class Tested(Tiered):
    """The same, measured on test if that is asked for."""

    test: Annotated[bool, typer.Option(help="Also measure on test; only for a published table.")] = False


def budget_of(tier: str) -> Budget:
    """The budget of this name.

    Raises:
        typer.BadParameter: if there is none.
    """
    from training.study import cells

    if tier not in TIERS:
        raise typer.BadParameter(f"{tier!r} is not one of {', '.join(TIERS)}", param_hint="--tier")
    return cells.TIERS[tier]


def taking(options: Callable[..., Options], **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose first argument, a dataclass, typer shows and reads as one option for each of its fields.

    Args:
        options: the dataclass.
        defaults: of this command, where they are others than the dataclass's.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        shared = list(_parameters(options, defaults))
        names = {each.name for each in shared}
        hints = get_type_hints(command, include_extras=True)
        own = [
            each.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[each.name])
            for each in list(signature(command).parameters.values())[1:]
        ]

        @wraps(command)
        def run(**given: Any) -> None:
            command(options(**{name: given.pop(name) for name in names}), **given)

        run.__signature__ = Signature([*shared, *own])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in [*shared, *own]}
        del run.__wrapped__
        return run

    return decorated


def _parameters(options: Any, defaults: dict[str, Any]) -> Iterator[Parameter]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        default = defaults.get(field.name, Parameter.empty if field.default is MISSING else field.default)
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
