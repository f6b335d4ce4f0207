"""A network recovered from a float32 artifact gives equal logits, with batch norm statistics of training patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.network import Network
from model_zoo.turns import Patch
from tests.training.tiny import as_input, synthetic_patches
from training.recover import RecoveryError, recover


@pytest.fixture(scope="module")
def many() -> Patch:
    return synthetic_patches(64).images


@torch.no_grad()
def test_the_function_is_the_artifacts(float_artifact_path: Path, many: Patch) -> None:
    network = recover(float_artifact_path, many)
    answered = Network(float_artifact_path.read_bytes()).logits(many)
    assert np.abs(network(as_input(many)).numpy() - answered).max() < 1e-4


@torch.no_grad()
def test_batch_statistics_give_nearly_the_same_answers(float_artifact_path: Path, many: Patch) -> None:
    network, x = recover(float_artifact_path, many), as_input(many)
    given = network(x)
    assert (network.train()(x) - given).abs().max() < 0.1 * given.abs().max()


def test_an_int8_artifact_is_refused_by_the_name_of_what_is_needed(artifact_path: Path, many: Patch) -> None:
    with pytest.raises(RecoveryError, match=r"int8 artifact: name its float twin"):
        recover(artifact_path, many)
