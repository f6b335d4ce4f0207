"""The first promise, on every real test patch: the same bits however a patch is turned by 90°."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model_zoo.turns import Patch
from tests.app.conftest import RunningServer, encoded
from training.data import load

pytestmark = pytest.mark.soak


def test_quarter_turns_of_every_test_patch_answer_the_same_bits(server: RunningServer, shared: Path) -> None:
    patches = load(shared / "pcam", "test").images

    def logits(patch: Patch) -> tuple[float, float]:
        response = server.client.post(
            "/predict", params={"rotations": "none"}, content=encoded(patch), headers={"Content-Type": "image/png"}
        )
        assert response.status_code == 200, response.text
        first, second = response.json()["logits"]
        return first, second

    def turns_agree(patch: Patch) -> bool:
        return len({logits(np.ascontiguousarray(np.rot90(patch, k))) for k in range(4)}) == 1

    with ThreadPoolExecutor(4) as clients:
        agreeing = sum(clients.map(turns_agree, patches))
    assert (agreeing, len(patches)) == (1503, 1503)
