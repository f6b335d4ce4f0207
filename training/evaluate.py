"""Measures an artifact, or a run, on a split: its figures, and the equality of bits under exact turns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_zoo.artifact import parse
from model_zoo.manifest import Metric, OrbitDecision, QualityReference
from model_zoo.network import Network
from model_zoo.symmetry import Group
from training.data import DataError, Patches, SplitName, require_distinct
from training.figures import figures
from training.score import Answer, ChunkScorer, score, turned

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


@dataclass(frozen=True)
class Subject:
    """What is measured: an artifact, or the float weights of a run.

    Attributes:
        name: for messages.
        sha256: of the file with the weights.
        graph_sha256: of the ONNX graph; empty for a run.
        logits: uint8 [N, 96, 96, 3] → float32 [N, 2].
        temperature, threshold, orbit, quality: how it decides; a run by its logits alone, at 0.5.
    """

    name: str
    sha256: str
    graph_sha256: str
    group: Group
    logits: Answer
    temperature: float = 1.0
    threshold: float = 0.5
    orbit: OrbitDecision | None = None
    quality: QualityReference | None = None


def opened(path: Path) -> Subject:
    """An artifact's file, or a run folder.

    Raises:
        ArtifactError: if the file is not an artifact.
        EvaluationError: if onnxruntime cannot open it, or the folder holds no run with usable weights.
    """
    return _run(path) if path.is_dir() else _artifact(path)


def _artifact(file: Path) -> Subject:
    content = file.read_bytes()
    parse(content)
    try:
        network = Network(content)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise EvaluationError(f"{file} cannot be opened: {str(error).splitlines()[0]}") from error
    manifest = network.manifest
    return Subject(
        f"{manifest.name} {manifest.version} {manifest.precision}",
        network.sha256,
        manifest.graph_sha256,
        Group.parse(manifest.group.name),
        network.logits,
        manifest.calibration.temperature,
        manifest.threshold,
        manifest.orbit,
        manifest.quality,
    )


def _run(folder: Path) -> Subject:
    import torch

    from training.checkpoints import CheckpointError, require_best
    from training.denormals import without_denormals
    from training.recipe import Run
    from training.weights import trained_network

    try:
        topology, best = Run.read(folder).topology, require_best(folder)
        network = trained_network(folder)
    except (OSError, CheckpointError, ValueError) as error:
        raise EvaluationError(f"{folder} is no run that can be measured: {error}") from error

    @torch.no_grad()
    def logits(patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        x = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255
        with without_denormals():
            answer: npt.NDArray[np.float32] = network(x).numpy()
        return answer

    group = Group.parse(topology.group)
    return Subject(f"{folder} float32, uncalibrated", sha256(best.read_bytes()).hexdigest(), "", group, logits)


def evaluate(subject: Subject, patches: Patches, split: SplitName) -> Evaluation:
    """Measure ``subject`` on ``patches`` and on all their exact turns.

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
    group = subject.group
    logits = score(subject.logits, patches.images)
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(1))[0])
        raise EvaluationError(
            f"{subject.name} answers {patches.origin(row)} with logits that are not finite: "
            "its weights are damaged, so train or quantize it again"
        )
    delta = np.zeros(len(patches))
    for element in group.exact_elements[1:]:
        answers = score(subject.logits, turned(patches.images, group, element))
        delta = np.maximum(delta, np.abs(answers - logits).max(1))
    metrics = figures(
        ChunkScorer(subject.logits),
        group,
        patches,
        split,
        temperature=subject.temperature,
        threshold=subject.threshold,
        orbit=subject.orbit,
        quality=subject.quality,
    )
    exactness = Exactness(group.exact_subgroup.name, len(patches), int((delta == 0).sum()), float(delta.max()))
    return Evaluation(subject.sha256, subject.graph_sha256, patches.source, patches.sha256, metrics, exactness)
