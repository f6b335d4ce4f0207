"""Joins a fitted network and a P4M-DenseNet: the mean of both networks' logits answers. The result is a run folder."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from training.batchnorm import adapt
from training.checkpoints import BEST, require_best
from training.data import Patches, halves_of_valid
from training.densenet import P4MDenseNet
from training.derived import CURVE, made_whole, source_of
from training.recipe import Joined, Run
from training.teachers import ADAPTING_PATCHES, Images, logit_difference
from training.weights import SECOND, fitted_network, usable_network


def join(run: Path, second: Path, folder: Path, train: Patches, valid: Patches, *, weight: float) -> Run:
    """Write a run folder of two networks.

    The second network's batch norm is estimated again on 1,024 training patches. Its logits are scaled to the standard
    deviation of the first network's on the choosing half of valid, times ``weight``.

    Args:
        run: the run folder of a network that can be quantized.
        second: the run folder of a P4M-DenseNet, or its expanded weights (``.npz``).
        folder: the new run folder; must not exist.
        weight: of the second network; 1 lets both count equally.

    Raises:
        ValueError: if ``folder`` exists, a network is of the wrong kind or answers alike to all patches, ``run`` was
            trained on other data, or ``weight`` is not a positive number.
        CheckpointError: if the weights of a run are missing, damaged or not finite.
        FileNotFoundError: if a folder is not a run folder.
        WeightsError: if the file is no P4M-DenseNet.
    """
    settings = source_of(folder, run, train)
    if not 0 < weight < math.inf:
        raise ValueError(f"the weight of the second network must be a positive number, not {weight}")
    if settings.joined is not None:
        raise ValueError(f"{run} holds two networks already: name the run of the first")
    require_best(run)
    first = fitted_network(run)
    added, digest = usable_network(second, train)
    if not isinstance(added, P4MDenseNet):
        raise ValueError(f"{second} is no P4M-DenseNet: only such a network can be joined")
    adapt(added, train.images[:ADAPTING_PATCHES]).eval()
    choosing = halves_of_valid(valid)[0].images
    spread = [_spread(network, choosing, source) for network, source in ((first, run), (added, second))]
    recipe = Run.read(second).recipe if second.is_dir() else None
    made = replace(settings, joined=Joined(second.name, digest, weight * spread[0] / spread[1], recipe))
    with made_whole(folder) as part:
        made.write(part)
        torch.save(added.state_dict(), part / SECOND)
        for name in (BEST, CURVE):
            if (run / name).exists():
                shutil.copy(run / name, part / name)
    return made


def _spread(network: nn.Module, images: Images, source: Path) -> float:
    """The standard deviation of a network's logit differences."""
    spread = float(logit_difference(network, images).std())
    if not 0 < spread < math.inf:
        raise ValueError(f"{source} answers alike to all {len(images)} patches of the choosing half of valid")
    return spread
