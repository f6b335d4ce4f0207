"""What covering squares of a patch does to the answer."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.network import Network
from model_zoo.occlusion import GRID, SQUARE_PX, covered, mean_colour, measure_occlusion, occlusion_report
from model_zoo.synthetic import synthetic_patch

TUMOUR = synthetic_patch("tumour", 3)


def test_each_copy_has_one_square_covered() -> None:
    copies = covered(TUMOUR)
    differs = (copies != TUMOUR).any(axis=3)
    assert (differs.sum(axis=0) <= 1).all()
    for number, copy in enumerate(copies):
        top, left = (SQUARE_PX * place for place in divmod(number, GRID))
        square = copy[top : top + SQUARE_PX, left : left + SQUARE_PX]
        assert (square == mean_colour(TUMOUR)).all()


def test_the_mean_colour_is_rounded_to_the_nearest_level() -> None:
    assert np.abs(np.array(mean_colour(TUMOUR)) - TUMOUR.reshape(-1, 3).mean(axis=0)).max() <= 0.5


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_the_map_of_a_turned_patch_is_the_map_turned(network: Network, quarter_turns: int) -> None:
    def bits(logits: np.ndarray) -> np.ndarray:
        return logits[1:].view(np.uint32).reshape(GRID, GRID, 2)

    here = measure_occlusion(TUMOUR, network.logits)
    there = measure_occlusion(np.ascontiguousarray(np.rot90(TUMOUR, quarter_turns)), network.logits)
    assert np.array_equal(bits(there), np.rot90(bits(here), quarter_turns))
    assert len(np.unique(bits(here)[..., 1])) > 10


def test_the_probabilities_are_in_their_places() -> None:
    report = occlusion_report(TUMOUR, [0.5, *(number / 100 for number in range(36))])
    assert (report.uncovered, report.probabilities[0][1], report.probabilities[5][0]) == (0.5, 0.01, 0.30)
