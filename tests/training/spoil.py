"""Ways to damage a data folder."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.layouts import PCAM, SPLITS, cells_of, write_h5, write_table

TRAIN, VALID, TEST = SPLITS["train"], SPLITS["valid"], SPLITS["test"]
HTML = b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"
X, Y = (PCAM.format("train", axis) for axis in "xy")
Spoil = Callable[[Path], object]


def table(split: str = "train", **options: Any) -> Spoil:
    """Write the Parquet file of train anew with other cells or labels."""
    arguments = {"cells": cells_of(TRAIN), "labels": TRAIN.labels.tolist(), **options}
    return lambda root: write_table(root / f"{split}.parquet", **arguments)


def label(value: object) -> Spoil:
    """Another label in row 7 of train, a column of the type of that label."""
    of: Callable[[int], object] = int if value is None else type(value)
    labels = [of(number) for number in TRAIN.labels.tolist()]
    return table(labels=[*labels[:7], value, *labels[8:]])


def image(content: bytes | None) -> Spoil:
    """Another image in row 7 of train."""
    cells = cells_of(TRAIN)
    return table(cells=[*cells[:7], {"bytes": content, "path": "a.png"}, *cells[8:]])


def content(name: str, value: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(value)


def cut(name: str) -> Spoil:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[: (root / name).stat().st_size * 2 // 3])


def remove(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def rename(old: str, new: str) -> Spoil:
    return lambda root: (root / old).rename(root / new)


def copy(old: str, new: str) -> Spoil:
    return lambda root: shutil.copy(root / old, root / new)


def pack(name: str) -> Spoil:
    """Only the compressed file is there."""

    def spoil(root: Path) -> None:
        (root / f"{name}.gz").write_bytes(gzip.compress((root / name).read_bytes()))
        (root / name).unlink()

    return spoil


def h5(name: str, values: Any, key: str) -> Spoil:
    return lambda root: write_h5(root / name, values, key)


def marks(values: Any) -> Spoil:
    """Other labels, each as a number, in the HDF5 file of train."""
    return h5(Y, np.asarray(values), "y")


def replace(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def with_marks(row: int, value: float, dtype: str) -> Spoil:
    labels = TRAIN.labels.astype(dtype)
    labels[row] = value
    return marks(labels)


def twice(*splits: str) -> Spoil:
    """The first patch of train once more, at the end of these splits."""

    def spoil(root: Path) -> None:
        for split in splits:
            patches = {"train": TRAIN, "valid": VALID, "test": TEST}[split]
            cells, labels = cells_of(patches) + cells_of(TRAIN)[:1], [*patches.labels, TRAIN.labels[0]]
            write_table(root / f"{split}.parquet", cells, labels)

    return spoil


# By name: layout, what is done to it, what the sentence says.
Cases = dict[str, tuple[str, Spoil, str]]
