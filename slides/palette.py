"""Colours of maps: lightness alone orders them, so they survive colour blindness and grey printing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

# Cividis (Nuñez, Anderton, Renslow 2018) at nine even steps.
_ANCHORS = np.array(
    [
        *((0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115)),
        *((138, 134, 120), (165, 156, 116), (195, 179, 105), (254, 232, 56)),
    ],
    dtype=np.float64,
)
OUTLINE: RGB = (213, 94, 0)
REFUSED: tuple[RGB, RGB] = ((225, 225, 225), (120, 120, 120))
HOLE: tuple[RGB, RGB] = ((255, 255, 255), (0, 0, 0))


def colours(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values from 0 to 1, float64 [...], as colours, uint8 [..., 3]; what lies outside is clipped."""
    steps = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(values, steps, _ANCHORS[:, channel]) for channel in range(3)]
    found: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return found
