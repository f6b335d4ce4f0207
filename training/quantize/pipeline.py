"""From a fitted network to the INT8 graph and its float32 twin, with figures for each step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from training.mobilenetv2 import MobileNetV2
from training.quantize.equalize import absorb_high_biases, equalize
from training.quantize.export import export_float, export_int8
from training.quantize.folded import FoldedNetwork, fold
from training.quantize.observed import observed_ranges
from training.quantize.ranges import DEVIATIONS, data_free_ranges
from training.quantize.scheme import DEFAULT, Scheme
from training.quantize.untied import untie
from training.quantize.weights import WEIGHT_BOUND

FLOAT32_TOLERANCE = 1e-4
FLOAT64_TOLERANCE = 1e-9


class QuantizationError(RuntimeError):
    """A step that must not change the float network changed it."""


@dataclass(frozen=True)
class Figures:
    """The effect of quantization, measured on ``patches`` patches; a delta is the largest absolute change of a logit.

    Attributes:
        equalized_delta_float32: of folding and equalization, in float32.
        equalized_delta_float64: of equalization, in float64.
        absorbed_fields: fields whose high bias was absorbed.
        absorbed_delta: of the absorption, in float64.
    """

    patches: int
    equalization_iterations: int
    equalized_delta_float32: float
    equalized_delta_float64: float
    absorbed_fields: int
    absorbed_delta: float

    def recipe(self) -> dict[str, float | int | str]:
        """The data-free recipe with its figures, for the manifest."""
        absorption = "high-bias absorption, " if self.absorbed_fields else ""
        return {
            "method": f"data-free: cross-layer equalization, {absorption}analytic bias correction",
            "weight_bound": WEIGHT_BOUND,
            "weight_scales": "one per field, tied over the group",
            "activation_deviations": DEVIATIONS,
            **asdict(self),
        }


@dataclass(frozen=True)
class Graphs:
    """The INT8 graph and its float32 twin, without metadata, and their figures."""

    int8: onnx.ModelProto
    float32: onnx.ModelProto
    figures: Figures


@dataclass(frozen=True)
class Quantized(Graphs):
    """The graphs of one network.

    Attributes:
        network: the float function, layer by layer, that the INT8 graph rounds.
    """

    network: FoldedNetwork


class _Function(Protocol):
    def forward(self, x: Tensor) -> Tensor: ...


def checked_deltas(network: _Function, x: Tensor, original: Tensor, reference: Tensor) -> tuple[float, float]:
    """The largest changes of a logit in float32 and in float64.

    Args:
        network: folded and equalized.
        x: float64 patches [N, 3, 96, 96] in [0, 1].
        original: the trained network's logits in float32, [N, 2].
        reference: the folded network's logits in float64 before equalization, [N, 2].

    Raises:
        QuantizationError: if a change is 1e-4 in float32, or 1e-9 in float64.
    """
    delta32 = (network.forward(x.float()) - original).abs().max().item()
    delta64 = (network.forward(x) - reference).abs().max().item()
    if delta32 >= FLOAT32_TOLERANCE or delta64 >= FLOAT64_TOLERANCE:
        raise QuantizationError(
            f"folding and equalization changed a logit by {delta32:.3g} in float32 (limit {FLOAT32_TOLERANCE}) and "
            f"{delta64:.3g} in float64 (limit {FLOAT64_TOLERANCE}): the network was not trained as exported"
        )
    return delta32, delta64


@torch.no_grad()
def quantize(
    network: MobileNetV2,
    probes: npt.NDArray[np.uint8],
    scheme: Scheme = DEFAULT,
    calibration: npt.NDArray[np.uint8] | None = None,
) -> Quantized:
    """Quantize a network, without data unless ``calibration`` is given; ``probes`` only measure changes.

    Args:
        network: in evaluation mode.
        probes: uint8 [N, 96, 96, 3]; patches for the figures.
        calibration: uint8 [N, 96, 96, 3], training patches that give activation ranges and mean inputs; None to
            take them from batch norm's statistics.

    Raises:
        QuantizationError: if folding and equalization change a logit by 1e-4 in float32, or equalization
            by 1e-9 in float64.
    """
    x = torch.from_numpy(probes).permute(0, 3, 1, 2).double() / 255
    original = network(x.float())
    folded = fold(network) if scheme.tied else untie(fold(network))
    reference = folded.forward(x)
    iterations = equalize(folded) if scheme.equalize else 0
    equalized = folded.forward(x)
    delta32, delta64 = checked_deltas(folded, x, original, reference)
    twin = export_float(folded)
    fields = absorb_high_biases(folded) if scheme.absorb else 0
    delta = (folded.forward(x) - equalized).abs().max().item()
    figures = Figures(len(probes), iterations, delta32, delta64, fields, delta)
    ranges = data_free_ranges(folded) if calibration is None else observed_ranges(folded, calibration)
    return Quantized(export_int8(folded, ranges, scheme), twin, figures, folded)
