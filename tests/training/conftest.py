"""Small data for the tests of ``training``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import lightning  # noqa: F401 - here, because its log keeps the stderr of its import, which a test's runner closes
import pytest
import torch

from model_zoo.turns import Patch
from tests.training.tiny import synthetic_patches, write_parquet
from training.data import Patches
from training.native import kernels


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing by a second thread, here or in a process that a test starts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def patches() -> Patches:
    """Sixteen synthetic patches."""
    return synthetic_patches(16)


@pytest.fixture(scope="session")
def images(patches: Patches) -> Patch:
    return patches.images


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of synthetic patches in Hugging Face's layout: 48 to train on, 48 to validate."""
    folder = tmp_path_factory.mktemp("data")
    write_parquet(folder / "train-00000-of-00002.parquet", synthetic_patches(24, 0))
    write_parquet(folder / "train-00001-of-00002.parquet", synthetic_patches(24, 24))
    write_parquet(folder / "valid.parquet", synthetic_patches(48, 48))
    return folder


@pytest.fixture
def compiled() -> None:
    """The C kernels, built with this machine's compiler."""
    kernels.cache_clear()
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: PyTorch's operators do the work here")
    assert kernels() is not None
