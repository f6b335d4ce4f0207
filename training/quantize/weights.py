"""Rounding of filters to int8 within a bound at which no x86-64 kernel saturates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.quantize.folded import Layer

WEIGHT_BOUND = 64
SWITCHED_OFF = 1e-20  # weights that decay made this small are stored as 0: their scale would not be a float32


@dataclass(frozen=True)
class RoundedFilters:
    """``filters ≈ scale · values``.

    Attributes:
        values: integers as float64, [|G|, out fields, |G| or 1, in fields or 1, k, k], within the bound.
        scale: [out fields]: of each field, tied over the group.
    """

    values: Tensor
    scale: Tensor

    def real(self) -> Tensor:
        return self.values * self.scale[:, None, None, None, None]


def round_filters(layer: Layer, bound: int = WEIGHT_BOUND, *, field_scales: bool = True) -> RoundedFilters:
    """Round a layer's filters to ``[−bound, bound]``, with one scale per output field or one for all."""
    filters = layer.filters()
    largest = filters.abs().amax((0, 2, 3, 4, 5))
    if not field_scales:
        largest = largest.max().expand_as(largest)
    scale = torch.where(largest > SWITCHED_OFF, largest, 1.0) / bound
    # The scale is stored as float32; rounding with the stored value keeps |values| within the bound.
    scale = scale.float().double()
    values = (filters / scale[:, None, None, None, None]).round().clamp(-bound, bound)
    return RoundedFilters(values, scale)


def corrected_bias(layer: Layer, rounded: RoundedFilters, input_mean: Tensor) -> Tensor:
    """The bias minus the mean error of rounding, [out fields].

    The error is averaged over the group, because a field has one bias.
    """
    error = (rounded.real() - layer.filters()).mean(0).sum((1, 3, 4))
    return layer.bias - (error[:, 0] * input_mean if layer.depthwise else error @ input_mean)
