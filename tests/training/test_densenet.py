"""The P4M-DenseNet: invariant under D4; with the shared weights it matches the published one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from tests.training.tiny import as_input
from training.data import load
from training.denormals import without_denormals
from training.densenet import GROUP, P4MDenseNet, WeightsError, load_expanded
from training.layers import exact_turn


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "teacher" / "p4m-densenet-pcam.npz"


@torch.no_grad()
def test_a_fresh_network_is_invariant_under_d4() -> None:
    network, x = P4MDenseNet().eval(), torch.rand(2, 3, 96, 96)
    given = network(x)
    for element in range(len(GROUP)):
        assert torch.allclose(network(exact_turn(x, GROUP, element)), given, atol=1e-4)


@torch.no_grad()
def test_the_published_weights_give_the_published_logits(weights: Path, shared: Path) -> None:
    network, patches = load_expanded(weights), load(shared / "pcam", "valid").images[:16]
    with without_denormals():
        logits = network(as_input(patches))
        assert np.abs(logits.numpy() - np.load(weights)["check.logits"]).max() < 5e-6
        for element in range(1, len(GROUP)):
            assert (network(exact_turn(as_input(patches[:4]), GROUP, element)) - logits[:4]).abs().max() < 5e-6


@pytest.mark.parametrize("name", ["stem.conv.weight", "dense.3.conv.weight", "head.norm.bias"])
def test_copies_that_differ_are_refused(weights: Path, tmp_path: Path, name: str) -> None:
    arrays = dict(np.load(weights))
    arrays[name] = arrays[name].copy()
    arrays[name].reshape(-1)[-1] += 1e-3
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(WeightsError, match=name.removesuffix(".weight")):
        load_expanded(tmp_path / "changed.npz")


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(WeightsError, match=r"other\.npz holds no array 'input\.mean'"):
        load_expanded(tmp_path / "other.npz")


def _archive(weights: np.ndarray) -> bytes:
    stream = BytesIO()
    np.savez(stream, weights=weights)
    return stream.getvalue()


def _zipped(text: str) -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w") as archive:
        archive.writestr("notes.txt", text)
    return stream.getvalue()


def _single(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"some text",
        _archive(np.zeros(300))[:400],
        _archive(np.array(["x"])),
        _archive(np.array([{}], dtype=object)),
        _single(np.zeros(3)),
        _zipped("words"),
    ],
    ids=["empty", "text", "truncated", "strings", "objects", "one array", "texts"],
)
def test_what_is_no_archive_of_numbers_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "other.npz"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.npz is no NumPy archive of numbers"):
        load_expanded(file)
