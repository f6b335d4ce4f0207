"""The paper's protocol on a subset of real patches, in the official HDF5 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest
from typer.testing import CliRunner

from tests.scale import scaled
from training.data import SplitName, load
from training.study.commands import study
from training.study.results import read

SIZES: dict[SplitName, int] = {"train": 64, "valid": scaled(32, 48), "test": scaled(16, 48)}
EPOCHS = scaled(1, 5)


@pytest.fixture
def official(shared: Path, tmp_path: Path) -> Path:
    real = load(shared / "pcam", "valid")  # the smaller of the splits that have enough of them
    at = 0
    for split, size in SIZES.items():
        patches, at = real[at : at + size], at + size
        for axis, values in (("x", patches.images), ("y", patches.labels.reshape(-1, 1, 1, 1))):
            with h5py.File(tmp_path / f"camelyonpatch_level_2_split_{split}_{axis}.h5", "w") as file:
                file[axis] = values
    return tmp_path


@pytest.mark.soak
@pytest.mark.nightly
def test_one_command_gives_both_networks_in_both_precisions(official: Path) -> None:
    out = official / "results"
    where = ["--data", official, "--runs", official / "runs", "--out", out]
    # Two threads would wait for each other, busily, while other tests have the cores.
    line = ["table1", *where, "--epochs", EPOCHS, "--seeds", "1", "--threads", "1"]
    result = CliRunner().invoke(study, [str(word) for word in line])
    assert result.exit_code == 0, result.output
    document: Any = read(out, "table1")
    assert document["n"] == SIZES["test"]
    rows = document["rows"]
    assert [row["name"] for row in rows] == ["MobileNetV2", "equivariant MobileNetV2 (C12)"]
    for row in rows:
        shares = [row["test_accuracy"][precision][0] for precision in ("fp32", "int8")]
        assert all(0 <= share <= 1 for share in shares)
        assert f"| {row['name']} | 1 | {100 * shares[0]:.2f} | {100 * shares[1]:.2f} |" in result.output
