"""Verification: may an artifact's answers be trusted on this machine? From cheap checks to dear ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnx
import onnxruntime as ort

from model_zoo.artifact import ArtifactError, graph_sha256, parse_manifest, parse_model
from model_zoo.dialect import (
    RefusedError,
    check_dialect,
    check_integer_graph,
    check_operators,
    check_shapes,
    check_weights,
)
from model_zoo.golden import GoldenCaseError
from model_zoo.manifest import Manifest
from model_zoo.network import FLOAT_TOLERANCE, Network, golden_answers, session_options
from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import SIDE, Patch, turn

NOISE_PATCHES = 24


@dataclass(frozen=True)
class Step:
    """One check.

    Attributes:
        detail: the measured figure, or what was wrong.
        milliseconds: wall-clock time of the check.
    """

    name: str
    passed: bool
    detail: str
    milliseconds: float


@dataclass(frozen=True)
class Report:
    """The steps that were made; those that make no sense after a failure are left out."""

    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        return all(step.passed for step in self.steps)


def verify(data: bytes) -> Report:
    """Verify an artifact file's bytes, which may be damaged or hostile: whatever they are, there is a report."""
    steps: list[Step] = []

    def passes(name: str, check: Callable[[], str]) -> bool:
        started = perf_counter()
        try:
            detail, passed = check(), True
        except (RefusedError, ArtifactError, GoldenCaseError) as error:
            detail, passed = str(error), False
        except Exception as error:  # bytes from outside: onnx and onnxruntime raise types of their own, none documented
            detail, passed = f"{type(error).__name__}: {error}"[:2000], False
        steps.append(Step(name, passed, detail, 1e3 * (perf_counter() - started)))
        return passed

    subject = _Subject(data)
    (
        passes("file", subject.file)
        and passes("manifest", subject.manifest_schema)
        and passes("dialect", lambda: check_dialect(subject.model))
        and passes("operators", lambda: check_operators(subject.model, subject.manifest.precision))
        and passes("shapes", lambda: check_shapes(subject.model))
    )
    if all(step.passed for step in steps):
        passes("graph hash", subject.graph_hash)
        if subject.manifest.precision == "int8":
            passes("weights", lambda: check_weights(subject.model))
            passes("integer graph", lambda: check_integer_graph(_optimized(data)))
        if passes("network", subject.opens):
            passes("golden cases", subject.golden_cases)
            passes("exact invariance", subject.exact_invariance)
    return Report(tuple(steps))


class _Subject:
    """The artifact under verification; each check fills in what the next ones read."""

    model: onnx.ModelProto
    manifest: Manifest
    network: Network

    def __init__(self, data: bytes) -> None:
        self.data = data

    def file(self) -> str:
        self.model = parse_model(self.data)
        return f"{len(self.data):,} bytes"

    def manifest_schema(self) -> str:
        self.manifest = parse_manifest(self.model)
        return f"{self.manifest.name} {self.manifest.version}, {self.manifest.precision}, {self.manifest.group.name}"

    def graph_hash(self) -> str:
        actual, expected = graph_sha256(self.model), self.manifest.graph_sha256
        if actual != expected:
            raise RefusedError(f"the graph hashes to {actual}, the manifest says {expected}: one of them was changed")
        return actual

    def opens(self) -> str:
        self.network = Network(self.data)
        return f"onnxruntime {ort.__version__}"

    def golden_cases(self) -> str:
        answers = golden_answers(self.network)
        residual = float(np.max([answer.residual for answer in answers]))
        exact = sum(answer.exact for answer in answers)
        detail = f"{exact} of {len(answers)} bit for bit, largest residual {residual:.3g}"
        must_be_exact = self.manifest.precision == "int8"
        if failed := [a.name for a in answers if not (a.exact if must_be_exact else a.residual <= FLOAT_TOLERANCE)]:
            expected = "equal bits" if must_be_exact else f"at most {FLOAT_TOLERANCE}"
            raise RefusedError(f"{detail}, expected {expected}: {', '.join(failed)}")
        return detail

    def exact_invariance(self) -> str:
        group = Group.parse(self.manifest.exact_subgroup)
        if len(group) == 1:
            return "C1: a conventional network, nothing to compare"
        patches = _probes()
        expected = self.network.logits(patches)
        differing, compared, residual = 0, 0, 0.0
        for element in range(1, len(group)):
            answers = self.network.logits(np.stack([turn(patch, group, element) for patch in patches]))
            differing += int((answers.view(np.uint32) != expected.view(np.uint32)).any(axis=1).sum())
            compared += len(patches)
            residual = max(residual, float(np.abs(answers.astype(np.float64) - expected).max()))
        detail = f"{differing} of {compared} answers differ under {group.name}, by at most {residual:.3g}"
        if differing and self.manifest.precision == "int8":
            raise RefusedError(
                f"{detail}, expected equal bits: project the filters onto the exact subgroup before rounding"
            )
        return detail


@cache
def _probes() -> Patch:
    noise = np.random.default_rng(0).integers(0, 256, (NOISE_PATCHES, SIDE, SIDE, 3), dtype=np.uint8)
    tissue = [synthetic_patch(kind, seed) for kind in ("tumour", "normal") for seed in range(4)]
    return np.concatenate([noise, np.stack(tissue)])


def _optimized(data: bytes) -> onnx.ModelProto:
    """The graph as onnxruntime runs it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "optimized.onnx")
        options = session_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return onnx.ModelProto.FromString(path.read_bytes())
