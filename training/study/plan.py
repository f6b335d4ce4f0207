"""The cost of experiments, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.mobilenetv2 import Topology
from training.speed import patches_per_second, trainer_of
from training.study import cells
from training.study.cells import Cell, Tier
from training.study.runner import finished

SECONDS = 2.0


@dataclass(frozen=True)
class Cost:
    """The cost of the remaining trainings of one experiment.

    Attributes:
        networks: number of networks of the whole experiment.
        todo: number of networks not trained yet and not part of a previous experiment.
        patch_epochs: number of patches times epochs, in total.
        hours: hours on this machine, one network after the other, without validation.
    """

    experiment: str
    networks: int
    todo: int
    patch_epochs: int
    hours: float


def experiments(tier: Tier, best: str | None) -> dict[str, list[Cell]]:
    """The cells of every experiment of a tier; a substitute is used before the best equivariant network is known.

    All groups of one topology have equal cost.
    """
    best = best or cells.EQUIVARIANT[0]
    return {
        "grid": cells.grid(tier) + cells.more_seeds(tier, best),
        "efficiency": cells.data_efficiency(tier, best),
        "pareto": cells.pareto(tier),
    }


def plan(planned: dict[str, list[Cell]], runs: Path, train_patches: int) -> list[Cost]:
    """Count the remaining trainings, and time each topology for two seconds."""
    speeds: dict[Topology, float] = {}
    seen: set[str] = set()
    costs = []
    for name, members in planned.items():
        todo = [c for c in _distinct(members) if c.key not in seen and finished(c, runs) is None]
        seen |= {cell.key for cell in members}
        for topology in {cell.topology for cell in todo} - speeds.keys():
            speeds[topology] = patches_per_second(trainer_of(topology), SECONDS)
        patch_epochs = [cell.recipe.epochs * (cell.recipe.patches or train_patches) for cell in todo]
        hours = sum(p / speeds[cell.topology] for p, cell in zip(patch_epochs, todo, strict=True)) / 3600
        costs.append(Cost(name, len(_distinct(members)), len(todo), sum(patch_epochs), hours))
    return costs


def _distinct(members: Iterable[Cell]) -> list[Cell]:
    return list({cell.key: cell for cell in members}.values())
