"""The quantization ablation: every step, tied and untied, within |w| ≤ 64 and 127, on validation patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import JsonValue

from model_zoo.artifact import graph_sha256
from model_zoo.integers import check_weights
from model_zoo.network import probability
from model_zoo.proof import RefusedError
from model_zoo.symmetry import Group
from training.calibrate import fit_operating_point
from training.data import Patches, in_calibrating_half
from training.metrics import ScoredAnswers, difference, measure_seeds
from training.mobilenetv2 import MobileNetV2
from training.quantize.export import export_float
from training.quantize.folded import fold
from training.quantize.pipeline import Quantized, quantize
from training.score import Scorer, turned
from training.study.ablation_section import section
from training.study.aimet_reference import equalize, quantize_by_onnxruntime
from training.study.ladder import DATA_FREE, WIDE, Variant, ladder, variants
from training.study.measure import THIRTY_DEGREES
from training.study.results import Document, provenance
from training.study.sqnr import Ratio, layer_sqnr

__all__ = ["run", "section"]

CALIBRATION_PATCHES = 256
PROBES = 64
NO_AIMET = (
    "AIMET's equalization was not run: `--aimet-python` names the interpreter of an environment that has `aimet-onnx`."
)


@dataclass(frozen=True)
class _Measured:
    """A graph's figures, with its answers and logits."""

    figures: Document
    answers: ScoredAnswers
    logits: npt.NDArray[np.float32]


class _Bench:
    """Measures graphs on the same patches; equal graphs are measured once."""

    def __init__(self, network: MobileNetV2, valid: Patches) -> None:
        self.valid, self.calibrating = valid, in_calibrating_half(valid)
        self.probes = valid.images[:PROBES]
        self.plain = export_float(fold(network))
        group = Group.parse(network.topology.group)
        self._exact_turns = [turned(self.probes, group, element) for element in group.exact_elements[1:]]
        self._thirty_degrees = turned(self.probes, *THIRTY_DEGREES)
        self._known: dict[str, _Measured] = {}
        self._reference = Scorer(self.plain).logits(valid.images)

    def measure(self, graph: onnx.ModelProto) -> _Measured:
        """Measure a graph on the validation patches, and its changes under turns of the probes."""
        sha256 = graph_sha256(graph)
        if sha256 not in self._known:
            self._known[sha256] = self._measure(Scorer(graph))
        return self._known[sha256]

    def _measure(self, scorer: Scorer) -> _Measured:
        labels, logits = self.valid.labels, scorer.logits(self.valid.images)
        operating = fit_operating_point(logits[self.calibrating], labels[self.calibrating])
        answers = ScoredAnswers(probability(logits, operating.temperature), operating.threshold)
        figures = measure_seeds([answers], labels)
        expected = scorer.logits(self.probes)

        def changes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
            delta: npt.NDArray[np.float64] = np.abs(scorer.logits(images).astype(np.float64) - expected).max(1)
            return delta

        exact = np.max([np.zeros(len(expected)), *map(changes, self._exact_turns)], axis=0)
        document: Document = {
            "accuracy": asdict(figures["accuracy"]),
            "auc": asdict(figures["auc"]),
            "logit_snr_db": Ratio().add(self._reference, logits).decibels,
            "differing": int((exact > 0).sum()),
            "exact_change": float(exact.max()),
            "thirty_degree_change": float(changes(self._thirty_degrees).max()),
        }
        return _Measured(document, answers, logits)

    def gain(self, after: _Measured, before: _Measured) -> Document:
        """The difference of ``after`` and ``before``, paired over patches."""
        paired = difference([after.answers], [before.answers], self.valid.labels)
        snr = [Ratio().add(self._reference, measured.logits).decibels for measured in (after, before)]
        return {
            "auc": asdict(paired["auc"]),
            "accuracy": asdict(paired["accuracy"]),
            "logit_snr_db": snr[0] - snr[1],
            "same_graph": after is before,
        }


def run(network: MobileNetV2, train: Patches, valid: Patches, aimet_python: Path | None = None) -> Document:
    """Quantize a network with all 24 variants, and measure each on the validation patches, never on test.

    256 training patches, drawn by a fixed seed, calibrate the last step. The operating point comes from the
    calibrating half of ``valid``, figures from all of it; layers and turns are measured on its first 64 patches.

    Args:
        network: fitted, in evaluation mode.
        aimet_python: an interpreter whose environment has ``aimet-onnx``, for the outside reference; None for none.

    Raises:
        AimetError: if that interpreter does not equalize the network.
    """
    bench = _Bench(network, valid)
    drawn = np.sort(np.random.default_rng(0).permutation(len(train))[:CALIBRATION_PATCHES])
    calibration = train.images[drawn]
    # First, so that an interpreter without AIMET fails at once.
    aimet: JsonValue = NO_AIMET if aimet_python is None else _aimet(bench, network, calibration, aimet_python)
    rows: list[JsonValue] = []
    measured: dict[Variant, _Measured] = {}
    for variant in variants():
        quantized = quantize(network, bench.probes, variant.scheme, calibration if variant.calibrated else None)
        measured[variant] = bench.measure(quantized.int8)
        layers: Document = dict(layer_sqnr(quantized, bench.probes))
        rows.append({**_described(variant, quantized), **measured[variant].figures, "sqnr_db": layers})
    return {
        **provenance({"train": train.sha256, "valid": valid.sha256}),
        "group": network.topology.group,
        "n": len(valid),
        "probes": len(bench.probes),
        "calibration_patches": len(calibration),
        "float": bench.measure(bench.plain).figures,
        "rows": rows,
        "gains": _gains(bench, measured),
        "aimet": aimet,
    }


def _described(variant: Variant, quantized: Quantized) -> Document:
    try:
        check_weights(quantized.int8)
        proven = True
    except RefusedError:
        proven = False
    return {
        "step": variant.step,
        "tied": variant.scheme.tied,
        "bound": variant.scheme.bound,
        "graph_sha256": graph_sha256(quantized.int8),
        "absorbed_fields": quantized.figures.absorbed_fields,
        "proven": proven,
    }


def _gains(bench: _Bench, measured: Mapping[Variant, _Measured]) -> Document:
    """The effects of each step, of all steps, of tying and of the wider bound."""
    data_free = measured[DATA_FREE]
    untied, wide = (
        measured[replace(DATA_FREE, scheme=replace(DATA_FREE.scheme, tied=tied, bound=bound))]
        for tied, bound in ((False, DATA_FREE.scheme.bound), (True, WIDE))
    )
    return {
        "steps": {after.step: bench.gain(measured[after], measured[before]) for before, after in pairwise(ladder())},
        "rounding": bench.gain(data_free, bench.measure(bench.plain)),
        "tying": bench.gain(data_free, untied),
        "wider": bench.gain(wide, data_free),
    }


def _aimet(bench: _Bench, network: MobileNetV2, calibration: npt.NDArray[np.uint8], python: Path) -> Document:
    """AIMET's equalization, ours and none, all quantized by onnxruntime in the same way."""
    theirs, version = equalize(bench.plain, python)
    ours = quantize(network, bench.probes).float32
    expected = Scorer(bench.plain).logits(bench.probes)
    rows: list[JsonValue] = []
    for name, graph in (("none", bench.plain), ("AIMET", theirs), ("ours", ours)):
        change = float(np.abs(Scorer(graph).logits(bench.probes) - expected).max())
        for per_channel in (False, True):
            figures = bench.measure(quantize_by_onnxruntime(graph, calibration, per_channel=per_channel)).figures
            rows.append({"equalization": name, "per_channel": per_channel, "float_change": change, **figures})
    return {"version": version, "rows": rows}
