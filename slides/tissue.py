"""Which cells may hold tissue, from a small stored level: what is surely glass is not read at the model's scale.

It is conservative: a cell is left out only if all that its patch covers, and a border around it, is as bright as the
slide's glass. Whether the rest is tissue is for the exact quality of each cell to say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_zoo.quality import OPTICAL_DENSITY
from slides.grid import MARGIN, STRIDE, columns_of, rows_of
from slides.raster import Plan
from slides.reader import Reader, Rectangle

FINEST, COARSEST = 4, 32  # pixels at the model's scale to one of the level
MAX_PIXELS = 2**24
GLASS_DENSITY = 0.03  # mean over channels; tissue begins at 0.08
ABOVE_GLASS = 0.006
GLASS_SHARE = 0.02  # of the level's pixels; so many are taken to be glass

_STRIP = 512
_UNIT = 3 * 2**16


def candidates(reader: Reader, how: Plan) -> NDArray[np.bool_]:
    """Bool [rows, columns]: cells that may hold tissue; all of them where the slide has no fitting level."""
    found = np.ones((rows_of(how), columns_of(how)), np.bool_)
    fitting = [
        index
        for index, level in enumerate(reader.levels)
        if FINEST <= level.downsample / how.ratio <= COARSEST and level.width * level.height <= MAX_PIXELS
    ]
    if not fitting:
        return found
    index = fitting[-1]
    density = _density(reader, index)
    glass = min(float(np.quantile(density, GLASS_SHARE)), GLASS_DENSITY * _UNIT)
    dark = np.zeros((density.shape[0] + 1, density.shape[1] + 1), np.int64)
    dark[1:, 1:] = (density > glass + ABOVE_GLASS * _UNIT).cumsum(axis=0).cumsum(axis=1)
    step = how.ratio / reader.levels[index].downsample
    rows, columns = (
        _windows(len(cells), origin / reader.levels[index].downsample, step, size)
        for cells, origin, size in zip((found, found[0]), how.origin[::-1], density.shape, strict=True)
    )
    (top, bottom), (left, right) = rows, columns
    counted = dark[bottom][:, right] - dark[top][:, right] - dark[bottom][:, left] + dark[top][:, left]
    result: NDArray[np.bool_] = counted > 0
    return result


def _density(reader: Reader, level: int) -> NDArray[np.int32]:
    """Sum of the channels' optical densities, int32 [height, width]; what cannot be read is black."""
    size = reader.levels[level]
    density = np.empty((size.height, size.width), np.int32)
    for top in range(0, size.height, _STRIP):
        height = min(_STRIP, size.height - top)
        pixels, bad = reader.read(level, Rectangle(0, top, size.width, height))
        density[top : top + height] = sum(OPTICAL_DENSITY[pixels[..., channel]] for channel in range(3))
        for each in bad:
            density[each.y : each.y + each.height, each.x : each.x + each.width] = 3 * OPTICAL_DENSITY[0]
    return density


def _windows(count: int, origin: float, step: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each cell along an axis, from and to which of the level's pixels its patch reaches, with one beside it."""
    starts = origin + (np.arange(count) * STRIDE - MARGIN) * step
    ends = starts + (STRIDE + 2 * MARGIN) * step
    low, high = np.floor(starts).astype(np.int64) - 1, np.ceil(ends).astype(np.int64) + 1
    return low.clip(0, size), high.clip(0, size)
