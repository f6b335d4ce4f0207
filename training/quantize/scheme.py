"""Schemes of quantization: the default for artifacts, others for comparison."""

from __future__ import annotations

from dataclasses import dataclass

from training.quantize.weights import WEIGHT_BOUND


@dataclass(frozen=True)
class Scheme:
    """Steps and choices of quantization.

    Attributes:
        field_scales: one weight scale per output field, else one per tensor, from its largest |weight|.
        equalize: cross-layer equalization.
        absorb: absorption of high biases.
        correct_bias: correction of biases for the mean error of rounded weights.
        bound: largest |weight| that is stored; no kernel can saturate up to 64.
        tied: parameters are chosen once per field, on exact orbits of filters. Else once per channel of the plain
            network, see :mod:`training.quantize.untied`: then no turn is guaranteed to keep the bits.
    """

    field_scales: bool = True
    equalize: bool = True
    absorb: bool = True
    correct_bias: bool = True
    bound: int = WEIGHT_BOUND
    tied: bool = True


DEFAULT = Scheme()
