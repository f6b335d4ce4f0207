"""The means of blocks have the bits with which the shipped bounds were made."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.texture import _halved


@pytest.mark.parametrize("side", [12, 24, 48, 96])
def test_means_of_blocks_have_the_bits_of_numpy(side: int) -> None:
    density = np.random.default_rng(side).random((side, side, 3)) * 2.4
    means = density.reshape(side // 2, 2, side // 2, 2, 3).mean(axis=(1, 3))
    assert _halved(density).tobytes() == means.tobytes()
