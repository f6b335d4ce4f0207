"""What an experiment will cost, before anything runs."""

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
    """Of the networks of one experiment that are still to be trained.

    Attributes:
        networks: of the whole experiment.
        todo: of them, not yet trained, and not part of an experiment before it.
        patch_epochs: patches that the trainings will see, in all.
        hours: that takes here, one network after the other, without validation.
    """

    experiment: str
    networks: int
    todo: int
    patch_epochs: int
    hours: float


def experiments(tier: Tier, best: str | None) -> dict[str, list[Cell]]:
    """The cells of every experiment of a tier; before the best equivariant network is known, another stands for it.

    All groups of one topology cost alike.
    """
    best = best or cells.EQUIVARIANT[0]
    return {
        "grid": cells.grid(tier) + cells.more_seeds(tier, best),
        "efficiency": cells.data_efficiency(tier, best),
        "pareto": cells.pareto(tier),
    }


def plan(planned: dict[str, list[Cell]], runs: Path, train_patches: int) -> list[Cost]:
    """Count what is to be trained and time each network's shape for two seconds."""
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
