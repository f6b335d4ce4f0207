"""Measures an artifact on a split: its figures, and the equality of bits under exact turns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model_zoo.artifact import parse
from model_zoo.manifest import Metric
from model_zoo.network import Network
from model_zoo.symmetry import Group
from training.data import DataError, Patches, SplitName, require_distinct
from training.figures import figures
from training.score import NetworkScorer, score, turned

MIN_OF_A_LABEL = 8


class EvaluationError(ValueError):
    """An artifact cannot be measured."""


@dataclass(frozen=True)
class Exactness:
    """Comparison of the logits of all exact turns with those of the patch as given.

    Attributes:
        subgroup: the exact subgroup.
        patches: number of patches.
        equal: number of patches with equal bits for every turn.
        largest_delta: largest absolute difference of a logit.
    """

    subgroup: str
    patches: int
    equal: int
    largest_delta: float


@dataclass(frozen=True)
class Evaluation:
    """The measurements of an artifact."""

    artifact_sha256: str
    graph_sha256: str
    data: str
    data_sha256: str
    metrics: tuple[Metric, ...]
    exactness: Exactness

    def document(self) -> dict[str, object]:
        """As plain JSON."""
        return asdict(self) | {"metrics": [metric.model_dump() for metric in self.metrics]}


def opened(artifact: Path) -> Network:
    """The network of an artifact's file.

    Raises:
        ArtifactError: if the file is not an artifact.
        EvaluationError: if onnxruntime cannot open it.
    """
    content = artifact.read_bytes()
    parse(content)
    try:
        return Network(content)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise EvaluationError(f"{artifact} cannot be opened: {str(error).splitlines()[0]}") from error


def evaluate(network: Network, patches: Patches, split: SplitName) -> Evaluation:
    """Measure ``network`` on ``patches`` and on all their exact turns.

    Raises:
        DataError: if the split has duplicates, or fewer than 8 patches of a label.
        EvaluationError: if an answer is not finite.
    """
    require_distinct({split: patches}, allow_in_train=True)
    positive = int(patches.labels.sum())
    if min(positive, len(patches) - positive) < MIN_OF_A_LABEL:
        raise DataError(
            f"{patches.source}: {len(patches) - positive} have label 0 and {positive} label 1; figures with intervals "
            f"need at least {MIN_OF_A_LABEL} of each: add patches to {split}"
        )
    manifest = network.manifest
    group = Group.parse(manifest.group.name)
    logits = score(network.logits, patches.images)
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(1))[0])
        raise EvaluationError(
            f"{manifest.name} {manifest.version} answers {patches.origin(row)} with logits that are not finite: "
            "its weights are damaged, so train or quantize it again"
        )
    delta = np.zeros(len(patches))
    for element in group.exact_elements[1:]:
        answers = score(network.logits, turned(patches.images, group, element))
        delta = np.maximum(delta, np.abs(answers - logits).max(1))
    metrics = figures(
        NetworkScorer(network),
        group,
        patches,
        split,
        temperature=manifest.calibration.temperature,
        threshold=manifest.threshold,
        orbit=manifest.orbit,
        quality=manifest.quality,
    )
    exactness = Exactness(group.exact_subgroup.name, len(patches), int((delta == 0).sum()), float(delta.max()))
    return Evaluation(network.sha256, manifest.graph_sha256, patches.source, patches.sha256, metrics, exactness)
