"""Checks that run an opened network: latency, golden cases, finite answers, dependence on the input,
independence of the other patches of a call, invariance.

None of them needs ``onnx``, so a server can verify a network whenever it loads one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median
from time import perf_counter, thread_time

import numpy as np

from model_zoo.golden import Logits, decode, golden_patches
from model_zoo.network import FLOAT_TOLERANCE, Network, golden_answers
from model_zoo.symmetry import Group
from model_zoo.turns import SIDE, Patch, turn

NOISE_PATCHES = 24
LATENCY_RUNS = 9
SHARED_CALLS = range(2, 9)
MAX_DETAIL = 2000


class RefusedError(ValueError):
    """An artifact violates its format or its manifest."""


@dataclass(frozen=True)
class Step:
    """One check.

    Attributes:
        detail: the measured figure, or the error.
        milliseconds: wall-clock time of the check.
    """

    name: str
    passed: bool
    detail: str
    milliseconds: float


Tell = Callable[[Step], None]


@dataclass(frozen=True)
class Report:
    """The steps that ran; steps that depend on a failed one are omitted."""

    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        return all(step.passed for step in self.steps)


def nobody(step: Step) -> None:
    """Ignores a step."""


class Examination:
    """Runs checks in order, catches their errors, and reports each as soon as it is done."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._steps: list[Step] = []

    def passes(self, name: str, check: Callable[[], str]) -> bool:
        """Run one check, which returns its measurement or raises an error."""
        started = perf_counter()
        try:
            detail, passed = check(), True
        except ValueError as error:
            detail, passed = str(error), False
        except Exception as error:  # untrusted bytes: onnx and onnxruntime raise undocumented types
            detail, passed = f"{type(error).__name__}: {error}", False
        self.add(Step(name, passed, detail[:MAX_DETAIL], 1e3 * (perf_counter() - started)))
        return passed

    def add(self, step: Step) -> None:
        """Add a step that ran elsewhere."""
        self._steps.append(step)
        self._tell(step)

    @property
    def report(self) -> Report:
        return Report(tuple(self._steps))


def prove(network: Network, tell: Tell = nobody) -> Report:
    """Verify a network's answers on this machine.

    Args:
        network: opened with one thread.
        tell: called with each step as soon as it is done.

    Returns:
        The steps ``latency``, ``golden cases``, ``finite answers``, ``independent answers``, ``moving answers`` and
        ``exact invariance``. They stop after a failed ``latency``, and at the first failure after ``golden cases``.
    """
    examination, proof = Examination(tell), _Proof(network)
    if examination.passes("latency", proof.latency):
        examination.passes("golden cases", proof.golden_cases)
        for name, check in (
            ("finite answers", proof.finite),
            ("independent answers", proof.independence),
            ("moving answers", proof.moving),
            ("exact invariance", proof.exact_invariance),
        ):
            if not examination.passes(name, check):
                break
    return examination.report


class _Proof:
    """A network under test; ``finite`` stores the answers that later checks read."""

    answers: Logits

    def __init__(self, network: Network) -> None:
        self.network = network
        self.must_be_exact = network.manifest.precision == "int8"

    def latency(self) -> str:
        """CPU time of this thread, so that a busy machine does not fail a network."""
        patch, limit = probes()[:1], self.network.manifest.latency_limit_ms
        self.network.logits(patch)  # the first run also allocates
        times: list[float] = []
        for _ in range(LATENCY_RUNS):
            started = thread_time()
            self.network.logits(patch)
            times.append(1e3 * (thread_time() - started))
            if sum(time > limit for time in times) > LATENCY_RUNS // 2:
                raise RefusedError(
                    f"one patch takes {median(times):.1f} ms of one thread, expected at most the {limit:g} ms that the "
                    "manifest vouches for"
                )
        return f"median {median(times):.2f} ms for one patch on one thread, limit {limit:g} ms"

    def golden_cases(self) -> str:
        with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which fails every comparison
            answers = golden_answers(self.network)
        residual = float(np.max([answer.residual for answer in answers]))
        exact = sum(answer.exact for answer in answers)
        detail = f"{exact} of {len(answers)} bit for bit, largest residual {residual:.3g}"
        if failed := [
            a.name for a in answers if not (a.exact if self.must_be_exact else a.residual <= FLOAT_TOLERANCE)
        ]:
            expected = "equal bits" if self.must_be_exact else f"at most {FLOAT_TOLERANCE}"
            raise RefusedError(f"{detail}, expected {expected}: {', '.join(failed)}")
        return detail

    def finite(self) -> str:
        """Run each probe alone; all answers must be finite."""
        self.answers = np.concatenate([self.network.logits(patch[None]) for patch in probes()])
        expected = (len(probes()), 2)
        if self.answers.shape != expected:
            raise RefusedError(f"{expected[0]} patches give logits {self.answers.shape}, expected {expected}")
        unusable = int((~np.isfinite(self.answers)).any(axis=1).sum())
        if unusable:
            raise RefusedError(f"{unusable} of {len(self.answers)} answers hold NaN or infinity")
        return f"{len(self.answers)} of {len(self.answers)}, within ±{float(np.abs(self.answers).max()):.3g}"

    def moving(self) -> str:
        """The difference of the two logits, which decides, must differ for at least half of the probes.

        A network without a dead layer gives a different value for each of these patches.
        """
        margins = sorted(set((self.answers[:, 1] - self.answers[:, 0]).tolist()))
        detail = f"{len(margins)} different margins for {len(self.answers)} patches"
        if 2 * len(margins) < len(self.answers):
            raise RefusedError(f"{detail}, expected at least half as many: the answers hardly depend on the patch")
        return f"{detail}, from {margins[0]:.3g} to {margins[-1]:.3g}"

    def independence(self) -> str:
        """Probes give equal bits alone and in calls of 2 to 8 patches, as different callers share them."""
        patches = probes()
        order = np.random.default_rng(1).permutation(len(patches))
        differing, compared, residual, start = 0, 0, 0.0, 0
        for size in SHARED_CALLS:
            members = order[np.arange(start, start + size) % len(order)]
            start += size
            answers, expected = self.network.logits(patches[members]), self.answers[members]
            differing += int((answers.view(np.uint32) != expected.view(np.uint32)).any(axis=1).sum())
            compared += size
            residual = max(residual, float(np.abs(answers.astype(np.float64) - expected).max()))
        detail = (
            f"{differing} of {compared} answers differ in calls of 2 to 8 from those alone, by at most {residual:.3g}"
        )
        if differing if self.must_be_exact else not residual <= FLOAT_TOLERANCE:
            raise RefusedError(f"{detail}: an answer must depend on its own patch alone")
        return detail

    def exact_invariance(self) -> str:
        group = Group.parse(self.network.manifest.exact_subgroup)
        if len(group) == 1:
            return "C1: a conventional network, nothing to compare"
        differing, compared, residual = 0, 0, 0.0
        for element in range(1, len(group)):
            answers = self.network.logits(np.stack([turn(patch, group, element) for patch in probes()]))
            differing += int((answers.view(np.uint32) != self.answers.view(np.uint32)).any(axis=1).sum())
            compared += len(answers)
            residual = max(residual, float(np.abs(answers.astype(np.float64) - self.answers).max()))
        detail = f"{differing} of {compared} answers differ under {group.name}, by at most {residual:.3g}"
        if differing and self.must_be_exact:
            raise RefusedError(
                f"{detail}, expected equal bits: project the filters onto the exact subgroup before rounding"
            )
        return detail


@cache
def probes() -> Patch:
    """24 patches of noise and the eight stored synthetic ones, uint8 [32, 96, 96, 3]; the files are read once."""
    noise = np.random.default_rng(0).integers(0, 256, (NOISE_PATCHES, SIDE, SIDE, 3), dtype=np.uint8)
    return np.concatenate([noise, np.stack([decode(name, png) for name, png in golden_patches().items()])])
