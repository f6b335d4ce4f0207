"""Measures a finished artifact on a split: its figures, and whether quarter turns change a bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from model_zoo.manifest import Metric
from model_zoo.network import Network
from model_zoo.symmetry import Group
from training.data import Patches
from training.metrics import measure
from training.score import score, turned


@dataclass(frozen=True)
class Exactness:
    """Logits of all exact turns of each patch against those of the patch as given.

    Attributes:
        subgroup: the exact subgroup whose turns were made.
        patches: how many patches were turned.
        equal: how many of them gave the very same bits for every turn.
        largest_delta: largest absolute difference of a logit.
    """

    subgroup: str
    patches: int
    equal: int
    largest_delta: float


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and on what."""

    artifact_sha256: str
    graph_sha256: str
    data: str
    data_sha256: str
    metrics: tuple[Metric, ...]
    exactness: Exactness

    def document(self) -> dict[str, object]:
        """As plain JSON."""
        return asdict(self) | {"metrics": [metric.model_dump() for metric in self.metrics]}


def evaluate(network: Network, patches: Patches, split: str) -> Evaluation:
    """Measure ``network`` on ``patches`` and on all their exact turns."""
    manifest = network.manifest
    group = Group.parse(manifest.group.name)
    logits = score(network.logits, patches.images)
    delta = np.zeros(len(patches))
    for element in group.exact_elements[1:]:
        answers = score(network.logits, turned(patches.images, group, element))
        delta = np.maximum(delta, np.abs(answers - logits).max(1))
    metrics = measure(network.probabilities(logits), patches.labels, manifest.threshold, split)
    exactness = Exactness(group.exact_subgroup.name, len(patches), int((delta == 0).sum()), float(delta.max()))
    return Evaluation(network.sha256, manifest.graph_sha256, patches.source, patches.sha256, metrics, exactness)
