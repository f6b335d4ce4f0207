"""The cells of the study: a network and a recipe, with their hash as the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from training.mobilenetv2 import Topology
from training.recipe import Distillation, Recipe
from training.topologies import PARETO, TOPOLOGIES

CONVENTIONAL = "conventional"
AUGMENTED = "conventional, augmented"
AVERAGED = "conventional, augmented, D4 average"
CHOSEN = "dense"
PAPER = "C12, the paper's own (crop 95)"
EQUIVARIANT = ("C4", "C8", "C12", "D4", "D6")


@dataclass(frozen=True)
class Cell:
    """One network to train.

    Attributes:
        name: its name in tables; cells with one name differ only in their seeds.
        teachers: files of the networks that the recipe's distillation names.
    """

    name: str
    topology: Topology
    recipe: Recipe
    teachers: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Hash of everything that determines the trained weights, except the data: the name of the run's folder.

        Settings at their defaults are omitted, so that a new setting does not change the keys of earlier runs.
        """
        settings = json.dumps([_chosen(self.topology), _chosen(self.recipe)], sort_keys=True, default=asdict)
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def seeded(self, seed: int) -> Cell:
        return replace(self, recipe=replace(self.recipe, seed=seed))


def _chosen(settings: Topology | Recipe) -> dict[str, Any]:
    return {f.name: value for f in fields(settings) if (value := getattr(settings, f.name)) != f.default}


@dataclass(frozen=True)
class Tier:
    """The budget of all cells of an experiment.

    Attributes:
        topology: name of the network's shape, see :mod:`training.topologies`.
        epochs: passes over all training patches.
        seeds: runs of the conventional network with augmentation and of the best equivariant one.
        sizes: training patches of the data-efficiency experiment and the passes over them; 0 patches for all.
        pareto_epochs: passes for each point of the Pareto experiment.
    """

    topology: str
    epochs: int
    seeds: int
    sizes: tuple[tuple[int, int], ...]
    pareto_epochs: int


TIERS = {
    "cpu": Tier("fast", epochs=2, seeds=3, sizes=((500, 8), (2000, 5), (8000, 3), (0, 2)), pareto_epochs=1),
    "gpu": Tier("balanced", epochs=60, seeds=5, sizes=((500, 240), (2000, 120), (8000, 90), (0, 60)), pareto_epochs=30),
}


def grid(tier: Tier) -> list[Cell]:
    """The grid's networks, each with seed 0."""
    topology, recipe = TOPOLOGIES[tier.topology], Recipe(epochs=tier.epochs)
    conventional = replace(topology, group="C1")
    return [
        Cell(CONVENTIONAL, conventional, replace(recipe, augment=False)),
        Cell(AUGMENTED, conventional, recipe),
        *(Cell(name, replace(topology, group=name), recipe) for name in EQUIVARIANT),
        Cell(PAPER, replace(topology, group="C12", crop_px=95, stem_px=3), recipe),
    ]


def named(cells: Iterable[Cell], name: str) -> Cell:
    return next(cell for cell in cells if cell.name == name)


def more_seeds(tier: Tier, best: str) -> list[Cell]:
    """Additional seeds of the conventional network with augmentation and of the equivariant network ``best``."""
    cells = grid(tier)
    return [named(cells, name).seeded(seed) for seed in range(1, tier.seeds) for name in (AUGMENTED, best)]


def data_efficiency(tier: Tier, best: str) -> list[Cell]:
    """The same two networks on fewer patches, with all seeds; those on all patches are cells of the grid."""
    cells = grid(tier)
    return [
        replace(cell, recipe=replace(cell.recipe, patches=patches, epochs=epochs))
        for patches, epochs in tier.sizes
        for seed in range(tier.seeds)
        for cell in (named(cells, name).seeded(seed) for name in (AUGMENTED, best))
    ]


def pareto(tier: Tier) -> list[Cell]:
    """C12 networks of increasing cost, trained with the same recipe."""
    recipe = Recipe(epochs=tier.pareto_epochs)
    return [Cell(name, topology, recipe) for name, topology in PARETO.items()]


def choices(teacher: Path, *, patches: int, epochs: int, seeds: int) -> list[Cell]:
    """The networks: the first with every setting of the releases, the others with one of them changed."""
    teachers = ((teacher.stem, hashlib.sha256(teacher.read_bytes()).hexdigest()),)
    one, four = (Distillation(views=views, teachers=teachers) for views in ((1,), (1, 2, 3, 4)))
    recipe = Recipe(epochs=epochs, patches=patches, refocus=1.0, shift_px=8, jpeg=0.5, distillation=one)
    dense = TOPOLOGIES["dense"]
    first = Cell(CHOSEN, dense, recipe, (teacher,))
    rows = [
        first,
        replace(first, name="dense-inner", topology=TOPOLOGIES["dense-inner"]),
        replace(first, name="fast", topology=TOPOLOGIES["fast"]),
        Cell("dense, labels alone", dense, replace(recipe, distillation=None)),
        replace(first, name="dense, four views", recipe=replace(recipe, distillation=four)),
    ]
    return [row.seeded(seed) for row in rows for seed in range(seeds)]


def table1(seeds: int, epochs: int) -> list[Cell]:
    """The paper's protocol: crop 95, 3×3 stem, quarter turns and reflections, lowest validation loss.

    Source: Mohamed et al. 2020, section 4 and table 1.
    """
    topology = replace(TOPOLOGIES["mobilenetv2"], crop_px=95, stem_px=3)
    recipe = Recipe(epochs=epochs, stain_jitter=0.0, averaged=0.0)
    return [
        Cell(name, replace(topology, group=group), replace(recipe, seed=seed))
        for seed in range(seeds)
        for name, group in (("MobileNetV2", "C1"), ("equivariant MobileNetV2 (C12)", "C12"))
    ]
