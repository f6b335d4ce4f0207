"""Windows of a region in one pass of a dense artifact: the bits of the patches, at a part of their cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model_zoo.golden import Logits, synthetic_field
from model_zoo.network import Corners, Network, session_options
from model_zoo.proof import RefusedError
from model_zoo.turns import SIDE, Patch

MAX_SIDE = 576  # of one pass; larger ones leave the processor's cache and save little
_LOST = 28  # pixels of a region's side that cost nothing, as fitted to measured passes
_CHEAP = 0.3  # patches for a window: a pass at most this expensive is not split further


class DensePass:
    """Answers windows of a block by passes over regions where that is cheaper, and as patches elsewhere.

    Args:
        data: a dense artifact's bytes.
        network: the same artifact, opened.
        region: the attribute of another object for the same artifact, so that it need not be made again.

    Attributes:
        region: the graph for regions, serialized.

    Raises:
        RefusedError: if the graph is not dense, or a pass gives other bits than patches on this machine.
    """

    def __init__(self, data: bytes, network: Network, region: bytes | None = None) -> None:
        assert network.manifest.dense is not None
        self._network = network
        self._stride = network.manifest.dense.stride
        self.region = _region(data) if region is None else region
        self._session = ort.InferenceSession(self.region, session_options(), providers=["CPUExecutionProvider"])
        self._check()

    def logits(self, block: Patch, corners: Corners) -> Logits:
        """Logits of windows.

        Args:
            block: uint8 [H, W, 3].
            corners: int [n, 2], the row and column of each window's first pixel.

        Returns:
            float32 [n, 2].
        """
        answers = np.empty((len(corners), 2), np.float32)
        alone = []
        for group, fits in self._groups(corners):
            if fits:
                answers[group] = self._passed(block, corners[group])
            else:
                alone.append(group)
        if alone:
            rest = np.concatenate(alone)
            answers[rest] = self._network.windows(block, corners[rest])
        return answers

    def _groups(self, corners: Corners) -> Iterator[tuple[NDArray[np.intp], bool]]:
        """Indices of windows that are answered together, and whether by one pass."""
        phases = corners % self._stride
        for phase in np.unique(phases, axis=0):
            index = np.flatnonzero((phases == phase).all(axis=1))
            yield from _cheapest(corners, index)[1]

    def _passed(self, block: Patch, corners: Corners) -> Logits:
        top, left = corners.min(axis=0)
        bottom, right = corners.max(axis=0) + SIDE
        region = np.ascontiguousarray(block[None, top:bottom, left:right])
        answers = self._session.run(["logits"], {"patches": region})[0]
        rows, columns = ((corners - (top, left)) // self._stride).T
        found: Logits = answers[rows * ((right - left - SIDE) // self._stride + 1) + columns]
        return found

    def _check(self) -> None:
        field = synthetic_field()
        places = np.arange(0, len(field) - SIDE + 1, self._stride)
        corners = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
        if self._passed(field, corners).tobytes() != self._network.windows(field, corners).tobytes():
            raise RefusedError(
                "one pass over a region gives other bits than its patches: this CPU computes differently"
            )


def _cheapest(corners: Corners, index: NDArray[np.intp]) -> tuple[float, list[tuple[NDArray[np.intp], bool]]]:
    """Cost in patches, and groups, of the cheapest way: one pass, patches, or halves of the longer side."""
    low, high = corners[index].min(axis=0), corners[index].max(axis=0)
    sides = high - low + SIDE
    alone = float(len(index))
    together = float(np.prod((sides - _LOST) / (SIDE - _LOST))) if sides.max() <= MAX_SIDE else np.inf
    best = min(alone, together)
    found = [(index, together < alone)]
    if sides.max() == SIDE or together <= _CHEAP * alone:
        return best, found
    axis = int(sides.argmax())
    near = corners[index, axis] <= (low[axis] + high[axis]) // 2
    parts = [_cheapest(corners, index[half]) for half in (near, ~near)]
    cost = sum(part for part, _ in parts)
    return (cost, parts[0][1] + parts[1][1]) if cost < best else (best, found)


def _region(data: bytes) -> bytes:
    from model_zoo.dense_region import any_region  # loads onnx, which a process that is given the graph does not need

    return any_region(data, MAX_SIDE)
