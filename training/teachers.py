"""Teachers: trained networks and their logits for the views of training patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from os import getpid
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from model_zoo.network import Network
from model_zoo.symmetry import Group
from training.batchnorm import adapt
from training.denormals import without_denormals
from training.densenet import load_expanded
from training.messages import duration, say
from training.score import score, turned
from training.views import view

CHUNK = 32
ADAPTING_PATCHES = 1024
TIMED = 4 * CHUNK  # patches, after which the time for all is estimated

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """A network that labels patches.

    Attributes:
        sha256: of the file with its weights.
        difference: function from uint8 [N, 96, 96, 3] to the difference of the two logits, float32 [N].
    """

    name: str
    sha256: str
    difference: Callable[[Images], Floats]


def open_teacher(file: Path, training_patches: Images) -> Teacher:
    """Open a teacher from its file.

    Args:
        file: an artifact, which answers by the mean over its group's turns, or the expanded P4M-DenseNet (``.npz``),
            whose batch norm is re-estimated on ``training_patches``.
        training_patches: uint8 [N, 96, 96, 3]; the first 1,024 are used.

    Raises:
        WeightsError, ArtifactError: if the file is neither.
    """
    digest = sha256(file.read_bytes()).hexdigest()
    if file.suffix == ".npz":
        network = adapt(load_expanded(file), training_patches[:ADAPTING_PATCHES])
        return Teacher(file.stem, digest, lambda images: logit_difference(network, images))
    artifact = Network(file.read_bytes())
    return Teacher(file.stem, digest, lambda images: _orbit_difference(artifact, images))


def _pixels(images: Images) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def logit_difference(network: nn.Module, images: Images) -> Floats:
    """The difference of a network's two logits for patches, uint8 [N, 96, 96, 3] → float32 [N]."""
    with without_denormals():
        chunks = [network(_pixels(images[i : i + CHUNK])) for i in range(0, len(images), CHUNK)]
    logits = torch.cat(chunks).numpy()
    difference: Floats = logits[:, 1] - logits[:, 0]
    return difference


def _orbit_difference(network: Network, images: Images) -> Floats:
    group = Group.parse(network.manifest.group.name)
    shares = {element: group.coset_of.count(element) / len(group) for element in group.coset_representatives}

    def answer(chunk: Images) -> Floats:
        total = np.zeros(len(chunk), np.float32)
        for element, share in shares.items():
            logits = network.logits(turned(chunk, group, element))
            total += (logits[:, 1] - logits[:, 0]) * np.float32(share)
        return total

    return score(answer, images)


def labelled(teacher: Teacher, images: Images, number: int, seed: int, cache: Path, data_sha256: str) -> Floats:
    """The teacher's logit differences for one view of all patches, float32 [N]; cached in ``cache``."""
    key = sha256(f"{teacher.sha256} {data_sha256} {number} {seed}".encode()).hexdigest()[:16]
    file = cache / f"{teacher.name}-view{number}-{key}.npy"
    if file.exists():
        kept: Floats = np.load(file)
        return kept
    answers = _answers(teacher, view(images, number, seed), number)
    cache.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{getpid()}.npy")  # networks of a study that are trained at once label the same patches
    np.save(part, answers)
    part.replace(file)
    return answers


def _answers(teacher: Teacher, images: Images, number: int) -> Floats:
    began = monotonic()
    first = teacher.difference(images[:TIMED])
    left = (monotonic() - began) / len(first) * (len(images) - len(first))
    say(f"{teacher.name} labels {len(images):,} patches, view {number}: about {duration(left)} left.")
    return np.concatenate([first, teacher.difference(images[TIMED:])]) if len(images) > TIMED else first
