"""Which steps quantization takes: the default makes artifacts, the others are there to be compared with it."""

from __future__ import annotations

from dataclasses import dataclass

from training.quantize.weights import WEIGHT_BOUND


@dataclass(frozen=True)
class Scheme:
    """Steps and choices of quantization.

    Attributes:
        field_scales: one weight scale for each output field, else one for each tensor, from its largest |weight|.
        equalize: cross-layer equalization.
        absorb: absorption of high biases.
        correct_bias: correction of biases for what rounding the weights adds to the mean output.
        bound: largest |weight| that is stored; no kernel can saturate up to 64.
        tied: everything is chosen once for each field, on exact orbits of filters. Else once for each channel of
            the plain network, see :mod:`training.quantize.untied`: no turn is then sure to keep the bits.
    """

    field_scales: bool = True
    equalize: bool = True
    absorb: bool = True
    correct_bias: bool = True
    bound: int = WEIGHT_BOUND
    tied: bool = True


DEFAULT = Scheme()
