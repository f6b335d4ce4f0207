"""Averages the weights of a run and of another network, such as its start: the result is a run folder.

Sources: Wortsman et al. 2022, *Model soups*; Wortsman et al. 2022, *Robust fine-tuning of zero-shot models* (WiSE-FT).
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.batchnorm import adapt
from training.checkpoints import BEST
from training.data import Patches
from training.derived import CURVE, made_whole, source_of
from training.drawing import drawn, images_for_norms
from training.recipe import Average, Run
from training.weights import PREFIX, usable_network


@torch.no_grad()
def average(run: Path, other: Path | None, folder: Path, train: Patches, *, weight: float, norm_patches: int) -> Run:
    """Write a run folder with the weights ``(1 - weight) · run + weight · other``.

    Base filters, scales and shifts of batch norm and the classifier are averaged. The statistics of batch norm are
    estimated again on training patches as they are; without ``other`` nothing else changes. Equal arguments give equal
    weights, up to rounding.

    Args:
        run: a run folder; the recipe and the learning curve are taken from it.
        other: a run folder, or a float32 artifact or an expanded P4M-DenseNet (``.npz``).
        folder: the new run folder; must not exist.
        weight: share of ``other``, from 0 to 1.
        norm_patches: number of training patches for batch norm, drawn by the run's seed.

    Returns:
        The content of ``run.json`` in ``folder``. Nothing is written if an error is raised.

    Raises:
        ValueError: if ``folder`` exists, the weight is not from 0 to 1, the topologies differ, ``run`` was trained on
            other data, or weights are not finite or missing.
        RecoveryError, ArtifactError, WeightsError: if ``other`` is a file, but holds no float network.
        FileNotFoundError: if a folder is not a run folder.
    """
    settings = source_of(folder, run, train)
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the other network must be from 0 to 1, not {weight}")
    first, own = usable_network(run, train)
    averaged = settings.average
    if other is not None:
        second, others = usable_network(other, train)
        if first.topology != second.topology:
            raise ValueError(
                f"{run} and {other} have different topologies: only networks of the same one can be averaged"
            )
        for mean, added in zip(first.parameters(), second.parameters(), strict=True):
            mean.lerp_(added, weight)
        averaged = Average(own, other.name, others, weight)
    recipe = replace(settings.recipe, norm_patches=norm_patches)
    adapt(first, images_for_norms(drawn(train, recipe), recipe))
    made = replace(settings, recipe=recipe, average=averaged)
    _write(folder, made, first, run / CURVE)
    return made


def _write(folder: Path, run: Run, network: nn.Module, curve: Path) -> None:
    state: dict[str, Tensor] = {f"{PREFIX}{name}": tensor for name, tensor in network.state_dict().items()}
    with made_whole(folder) as part:
        run.write(part)
        torch.save({"state_dict": state}, part / BEST)
        if curve.exists():
            shutil.copy(curve, part / CURVE)
