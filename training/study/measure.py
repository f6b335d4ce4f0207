"""Measures finished cells: answers to a split, changes under turns, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from scipy.special import logit

from model_zoo.golden import decode, golden_patches
from model_zoo.network import probability, session_options
from model_zoo.symmetry import Group
from training.calibrate import fit_operating_point
from training.data import Patches, in_calibrating_half
from training.layers import EquivariantConv
from training.metrics import Interval, ScoredAnswers
from training.mobilenetv2 import PATCH_PX, MobileNetV2
from training.quantize.pipeline import quantize
from training.quantize.scheme import Scheme
from training.quantize.weights import WEIGHT_BOUND
from training.recipe import Run
from training.score import Scorer, turned
from training.topologies import TOPOLOGIES
from training.weights import fitted_network

Logits = npt.NDArray[np.float32]
PRECISIONS = ("int8", "fp32")
TURNED = 256
BLOCKS, INFERENCES = 30, 30
QUARTER = (Group.parse("C4"), 1)
THIRTY_DEGREES = (Group.parse("C12"), 1)
MIRROR = (Group.parse("D1"), 1)


def _network(folder: Path, precision: str) -> Scorer:
    return Scorer(onnx.load(folder / f"{precision}.onnx"))


def logits_of(folder: Path, precision: str, patches: Patches, *, averaged: bool = False) -> Logits:
    """A run's logits on a split, float32 [N, 2]; cached in its folder.

    Args:
        precision: ``"int8"`` or ``"fp32"``.
        averaged: use the mean probability over the eight quarter turns and reflections of each patch.
    """
    file = folder / f"logits-{precision}{'-D4' if averaged else ''}-{patches.sha256[:12]}.npy"
    if not file.exists():
        scorer = _network(folder, precision)
        np.save(file, _mean_over_turns(scorer, patches) if averaged else scorer.logits(patches.images))
    answers: Logits = np.load(file)
    return answers


def _mean_over_turns(scorer: Scorer, patches: Patches) -> Logits:
    group = Group.parse("D4")
    turns = (turned(patches.images, group, g) for g in range(len(group)))
    mean = np.mean([probability(scorer.logits(images), 1.0) for images in turns], axis=0)
    log_odds = logit(np.clip(mean, 1e-7, 1 - 1e-7))
    return np.stack([np.zeros_like(log_odds), log_odds], axis=1).astype(np.float32)


def answers_of(
    folder: Path, precision: str, valid: Patches, split: Patches, *, averaged: bool = False
) -> ScoredAnswers:
    """A run's answers to ``split`` at the operating point from the calibrating half of ``valid``."""
    logits = logits_of(folder, precision, valid, averaged=averaged)
    calibrating = in_calibrating_half(valid)
    operating = fit_operating_point(logits[calibrating], valid.labels[calibrating])
    answers = logits_of(folder, precision, split, averaged=averaged)
    return ScoredAnswers(probability(answers, operating.temperature), operating.threshold)


@dataclass(frozen=True)
class TurnChanges:
    """Largest absolute change of a logit over ``patches`` patches when they are turned.

    Attributes:
        exact: by any element of the network's exact subgroup; None for the trivial one.
        equal_bits: number of patches with equal bits under all of them.
        quarter: by 90°.
        thirty_degrees: by 30°, which interpolates.
        mirror: left to right.
    """

    patches: int
    exact: float | None
    equal_bits: int | None
    quarter: float
    thirty_degrees: float
    mirror: float


def turn_changes(folder: Path, precision: str, patches: Patches) -> TurnChanges:
    """Measure the changes of a run's network on turns of the first patches of a split."""
    scorer, images = _network(folder, precision), patches.images[:TURNED]
    expected = scorer.logits(images)

    def change(group: Group, element: int) -> npt.NDArray[np.float64]:
        answers = scorer.logits(turned(images, group, element)).astype(np.float64)
        by_patch: npt.NDArray[np.float64] = np.abs(answers - expected).max(1)
        return by_patch

    group = Group.parse(Run.read(folder).topology.group)
    exact = [change(group, element) for element in group.exact_elements[1:]]
    return TurnChanges(
        patches=len(images),
        exact=float(np.max(exact)) if exact else None,
        equal_bits=int((np.max(exact, axis=0) == 0).sum()) if exact else None,
        quarter=float(change(*QUARTER).max()),
        thirty_degrees=float(change(*THIRTY_DEGREES).max()),
        mirror=float(change(*MIRROR).max()),
    )


@dataclass(frozen=True)
class Size:
    """The size of a network.

    Attributes:
        parameters: number of trained parameters.
        macs: multiplications of its convolutions for one patch.
        int8_bytes: of the INT8 graph without its manifest.
    """

    parameters: int
    macs: int
    int8_bytes: int


def size_of(folder: Path) -> Size:
    network = fitted_network(folder)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Size(parameters, macs(network), (folder / "int8.onnx").stat().st_size)


@torch.no_grad()
def macs(network: MobileNetV2) -> int:
    """Multiplications of a network's convolutions for one patch."""
    total = 0

    def count(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, EquivariantConv)
        total += output.shape[-2] * output.shape[-1] * module.expand().numel()

    convolutions = [module for module in network.modules() if isinstance(module, EquivariantConv)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    network(torch.zeros(1, 3, PATCH_PX, PATCH_PX))
    for hook in hooks:
        hook.remove()
    return total


def within_bounds(folder: Path) -> dict[str, bytes]:
    """A run's INT8 graph with weights within ±64, and within ±127, by a label."""
    topology = Run.read(folder).mobilenet
    name = next((name for name, known in TOPOLOGIES.items() if known == topology), folder.name)
    probes = np.stack([decode(label, png) for label, png in golden_patches().items()])
    network = fitted_network(folder)
    return {
        f"{name}, |w| ≤ {bound}": quantize(network, probes, Scheme(bound=bound)).int8.SerializeToString()
        for bound in (WEIGHT_BOUND, 127)
    }


def latencies(graphs: Sequence[Path]) -> list[Interval]:
    """Milliseconds of one inference at one thread: median, and 2.5th and 97.5th percentile, over blocks.

    The networks are measured in alternating blocks, so that a drift of the machine's speed affects all equally.
    """
    sessions = [
        ort.InferenceSession(str(graph), session_options(), providers=["CPUExecutionProvider"]) for graph in graphs
    ]
    patch = np.random.default_rng(0).integers(0, 256, (1, PATCH_PX, PATCH_PX, 3), dtype=np.uint8)

    def block(session: ort.InferenceSession) -> float:
        times = []
        for _ in range(INFERENCES):
            start = perf_counter()
            session.run(["logits"], {"patches": patch})
            times.append(perf_counter() - start)
        return float(np.median(times)) * 1e3

    blocks = np.array([[block(session) for session in sessions] for _ in range(BLOCKS)])
    low, high = np.percentile(blocks, [2.5, 97.5], axis=0)
    return [
        Interval(*values) for values in zip(np.median(blocks, 0).tolist(), low.tolist(), high.tolist(), strict=True)
    ]
