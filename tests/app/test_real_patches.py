"""Equal bits under turns by 90° on real test patches: each third in CI, all of them at night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.turns import Patch
from tests.app.conftest import RunningServer, encoded
from tests.scale import scaled
from training.data import load

pytestmark = pytest.mark.soak

EVERY = scaled(3, 1)
BATCH = 200
SINGLY = 20  # each twentieth patch is sent by itself, too


def test_quarter_turns_of_test_patches_answer_the_same_bits(server: RunningServer, shared: Path) -> None:
    patches = load(shared / "pcam", "test").images
    assert len(patches) == 1503
    patches = patches[::EVERY]

    def asked(path: str, **sent: Any) -> Any:
        response = server.client.post(path, params={"rotations": "none"}, **sent)
        assert response.status_code == 200, response.text
        return response.json()

    def logits_of(turned: list[Patch]) -> list[list[float]]:
        files = [("file", ("patch.png", encoded(patch, compress_level=1), "image/png")) for patch in turned]
        return [result["logits"] for result in asked("/predict/batch", files=files)["results"]]

    answers = [
        [logits for at in range(0, len(turned), BATCH) for logits in logits_of(turned[at : at + BATCH])]
        for turned in ([np.ascontiguousarray(np.rot90(patch, k)) for patch in patches] for k in range(4))
    ]
    agreeing = sum(each == answers[0][i] for turn in answers for i, each in enumerate(turn))
    assert agreeing == 4 * len(patches)
    for i in range(0, len(patches), SINGLY):
        png = encoded(np.ascontiguousarray(np.rot90(patches[i], i)))
        single = asked("/predict", content=png, headers={"Content-Type": "image/png"})
        assert single["logits"] == answers[0][i]
